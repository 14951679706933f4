"""Runs a backtest over log files in worker processes: each file, then each partition, is one piece of work.

Between the rounds tallies lie in a folder of their own under the system's temporary folder (``TMPDIR``), about 15 % of
the size of the logs; it is removed in the end.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import partial
from math import inf
from pathlib import Path

from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.logfile import FRAME, frames
from pipeline.adapters.spool import SpoolWriter, load_decisions, save_decisions, spooled
from pipeline.adapters.workers import Workers, tick
from pipeline.enrich import no_country
from pipeline.flow import Normalizer, first_time
from pipeline.rules import RuleSet, build
from pipeline.rules.config import RulesFile
from pipeline.trials.backtest import (
    Accusation,
    Counted,
    count_accounts,
    count_others,
    detector,
    interleave,
    route,
    split,
)
from pipeline.trials.cases import Case
from pipeline.trials.effects import Effects, measure
from schemas.enforcement import Decision

PARTITIONS = 16  # whatever the number of workers, so that it never changes what comes out

Progress = Callable[[str, float, int], None]
"""(what is done now, part of it that is done, lines read so far)"""


@dataclass(frozen=True)
class Plan:
    """What is to be replayed, how. ``start``, ``stop``: event times, seconds since 1970.

    What comes before ``start`` is counted, so that windows and known networks are as they were, but not reported;
    what comes at ``stop`` or later is left out.
    """

    files: tuple[Path, ...]
    rules: tuple[RulesFile, ...]
    home: str
    zone: tzinfo
    geoip: Path | None = None
    start: float = -inf
    stop: float = inf
    cases: tuple[Case, ...] = ()

    def built(self) -> list[RuleSet]:
        """The rule sets. They have been checked before, so that no RulesError is to be expected."""
        return [build(file, self.home) for file in self.rules]

    def sharing(self, variant: int) -> list[int]:
        """The rule sets that trust the same hosts as one of them does, and so share its tallies."""
        return [n for n, file in enumerate(self.rules) if file.trusted == self.rules[variant].trusted]

    @property
    def variants(self) -> list[int]:
        """The first rule set of each group that shares its tallies."""
        return sorted({self.sharing(number)[0] for number in range(len(self.rules))})


@dataclass
class Outcome:
    """Of one rule set: decisions in the order of time, and what they do. ``subjects``: how many were counted."""

    decisions: list[Decision] = field(default_factory=list)
    effects: Effects = field(default_factory=Effects)
    subjects: int = 0


@dataclass(frozen=True)
class Reading:
    """Of one file."""

    times: list[float]
    lines: int
    ignored: int
    unreadable: int


@dataclass
class Backtest:
    """All of it. ``outcomes``: in the order of the rule sets."""

    outcomes: list[Outcome]
    lines: int = 0
    ignored: int = 0
    unreadable: int = 0


def run(plan: Plan, jobs: int, progress: Progress) -> Backtest:
    """Replays the files under each rule set, in ``jobs`` processes. Raises OSError, GeoFileError, WorkerLost."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sekimori-")))
        workers = stack.enter_context(Workers(jobs, len(plan.files)))
        sizes = sum(path.stat().st_size for path in plan.files) or 1
        read = partial(_read, plan, folder)
        readings = workers.map(read, range(len(plan.files)), lambda _, at: progress("reading", sum(at) / sizes, 0))
        lines = sum(reading.lines for reading in readings)
        pieces = [(variant, partition) for variant in plan.variants for partition in range(PARTITIONS)]

        def share(name: str) -> Callable[[int, list[int]], None]:
            return lambda done, _: progress(name, done / len(pieces), lines)

        numbers = interleave([reading.times for reading in readings])
        accounts = workers.map(partial(_count_accounts, plan, folder, numbers), pieces, share("accounts"))
        accused = _route(plan, pieces, accounts)
        tasks = [(*piece, [accused[n][piece[1]] for n in plan.sharing(piece[0])]) for piece in pieces]
        others = workers.map(partial(_count_others, plan, folder, numbers), tasks, share("networks"))
        result = Backtest(_outcomes(plan, pieces * 2, accounts + others), lines)
        save_decisions(folder, [outcome.decisions for outcome in result.outcomes])
        measured = workers.map(partial(_measure, plan, folder, numbers), pieces, share("effects"))
    for (variant, _), found in zip(pieces, measured, strict=True):
        for number, effects in zip(plan.sharing(variant), found, strict=True):
            result.outcomes[number].effects.add(effects)
    for outcome in result.outcomes:  # only now: what was restricted before the start stops mail after it
        outcome.decisions = [d for d in outcome.decisions if d.issued_at.timestamp() >= plan.start]
    result.ignored = sum(reading.ignored for reading in readings)
    result.unreadable = sum(reading.unreadable for reading in readings)
    return result


def _read(plan: Plan, folder: Path, number: int) -> Reading:
    """A file -> tallies, spooled by partition; the times of its frames, in its order."""
    lookup = GeoFile(plan.geoip) if plan.geoip else no_country
    normalizers = {v: Normalizer(plan.rules[v], plan.zone, lookup) for v in plan.variants}
    times: list[float] = []
    lines = ignored = unreadable = 0
    size = FRAME if len(plan.files) == 1 else FRAME >> 3  # as replay reads them
    path = plan.files[number]
    with ExitStack() as stack:
        spools = {v: stack.enter_context(SpoolWriter(folder, v, number, PARTITIONS)) for v in normalizers}
        for frame in frames(path, size):
            if len(plan.files) > 1:
                times.append(first_time(frame.content, frame.reference, plan.zone))
            else:
                times.append(0.0)
            for variant, normalizer in normalizers.items():
                batch = normalizer.normalize(frame.content, frame.reference, frame.source, len(times))
                tallies = [t for t in batch.tallies if t.at < plan.stop] if plan.stop < inf else batch.tallies
                spools[variant].write(split(tallies, len(times) - 1, PARTITIONS))
            lines, ignored = lines + batch.lines, ignored + batch.ignored
            unreadable += len(batch.dead_letters)
            tick(number, frame.compressed_position)
    return Reading(times, lines, ignored, unreadable)


Piece = tuple[int, int]
"""(group of rule sets that share tallies, partition)"""


def _count_accounts(plan: Plan, folder: Path, numbers: list[list[int]], piece: Piece) -> list[Counted]:
    variant, partition = piece
    built = plan.built()
    detectors = [detector(built[n], PARTITIONS) for n in plan.sharing(variant)]
    return count_accounts(spooled(folder, variant, partition, True, numbers), detectors)


def _count_others(
    plan: Plan, folder: Path, numbers: list[list[int]], task: tuple[int, int, list[list[Accusation]]]
) -> list[Counted]:
    variant, partition, accusations = task
    built = plan.built()
    detectors = [detector(built[n], PARTITIONS) for n in plan.sharing(variant)]
    return count_others(spooled(folder, variant, partition, False, numbers), detectors, accusations)


def _measure(plan: Plan, folder: Path, numbers: list[list[int]], piece: Piece) -> list[Effects]:
    variant, partition = piece
    frames = spooled(folder, variant, partition, True, numbers)
    decided = load_decisions(folder)
    return measure(frames, [decided[n] for n in plan.sharing(variant)], plan.cases, plan.start)


def _route(plan: Plan, pieces: Sequence[Piece], counted: Sequence[list[Counted]]) -> list[list[list[Accusation]]]:
    """Rule set -> partition -> accusations."""
    found: list[list[Accusation]] = [[] for _ in plan.rules]
    for (variant, _), of_piece in zip(pieces, counted, strict=True):
        for number, of_rules in zip(plan.sharing(variant), of_piece, strict=True):
            found[number] += of_rules.accusations
    return [route(accusations, PARTITIONS) for accusations in found]


def _outcomes(plan: Plan, pieces: Sequence[Piece], counted: Sequence[list[Counted]]) -> list[Outcome]:
    outcomes = [Outcome() for _ in plan.rules]
    for (variant, _), of_piece in zip(pieces, counted, strict=True):
        for number, of_rules in zip(plan.sharing(variant), of_piece, strict=True):
            outcomes[number].decisions += of_rules.decisions
            outcomes[number].subjects += of_rules.subjects
    for outcome in outcomes:
        outcome.decisions = sorted(outcome.decisions, key=lambda d: (d.issued_at, d.key))
    return outcomes
