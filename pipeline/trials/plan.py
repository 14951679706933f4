"""What a backtest or a suggestion counts: which logs or stored events, under which rules, split in which parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from math import inf
from pathlib import Path
from typing import TypeVar

from pipeline.rules import RuleSet, build
from pipeline.rules.config import RulesFile

PARTITIONS = 16  # whatever the number of workers, so that it never changes what comes out

Portion = tuple[int, int]
"""(leader of the rule sets that share tallies, partition)"""
T = TypeVar("T")


@dataclass(frozen=True)
class Logs:
    """Log files. ``zone``: of lines without one, ``zones``: of single hosts; ``geoip``: a MaxMind DB file."""

    files: tuple[Path, ...]
    zone: tzinfo
    geoip: Path | None = None
    zones: Mapping[str, tzinfo] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredEvents:
    """Events of a folder that ``sekimori load`` made, or of a ClickHouse server: with the countries, and joined by the
    trusted webmail hosts, of the time when they were stored. ``password_file``, ``ca``: of a server's connection."""

    place: str
    password_file: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be counted, under which rules. ``start``, ``stop``: event times, seconds since 1970.

    What comes before ``start`` is counted, so that windows and known networks are as they were (of stored events the 30
    days before, which is all that windows remember), but not reported; what comes at ``stop`` or later is left out.
    ``brakes``: partitions of ``tallies`` of the installation, each with a brake of its own.
    """

    origin: Logs | StoredEvents
    rules: tuple[RulesFile, ...]
    home: str
    start: float = -inf
    stop: float = inf
    brakes: int = 1

    def built(self) -> list[RuleSet]:
        """The rule sets. They have been checked before, so that no RulesError is to be expected."""
        return [build(file, self.home) for file in self.rules]

    def group(self, number: int) -> list[int]:
        """The rule sets that trust the same hosts as one of them does, and so share its tallies. The first leads."""
        return [n for n, file in enumerate(self.rules) if file.trusted == self.rules[number].trusted]

    @property
    def leaders(self) -> list[int]:
        """Of all groups: the rule sets whose tallies are made."""
        return sorted({self.group(number)[0] for number in range(len(self.rules))})

    @property
    def portions(self) -> list[Portion]:
        """All that is to be counted."""
        return [(leader, partition) for leader in self.leaders for partition in range(PARTITIONS)]

    def by_rule_set(self, found: Sequence[Sequence[T]]) -> list[list[T]]:
        """What each portion gave for each rule set of its group -> what each rule set got from all partitions."""
        sorted_out: list[list[T]] = [[] for _ in self.rules]
        for (leader, _), of_portion in zip(self.portions, found, strict=True):
            for number, one in zip(self.group(leader), of_portion, strict=True):
                sorted_out[number].append(one)
        return sorted_out
