"""The whole flow in memory: frames of raw lines in, decisions out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import Detector, Findings
from pipeline.formats.reading.lines import LineReader, split_frame
from pipeline.normalize.enrich import Lookup, no_country
from pipeline.normalize.normalizer import Normalizer
from pipeline.rules import RuleSet
from schemas.dead_letter import DeadLetter
from schemas.enforcement import Decision
from schemas.event import Event
from schemas.tally import Tally


@dataclass
class Replay:
    """The whole flow in memory, over frames of one or several sources."""

    rules: RuleSet
    zone: tzinfo = UTC
    lookup: Lookup = no_country
    lines: int = 0
    ignored: int = 0
    dead_letters: list[DeadLetter] = field(default_factory=list)
    unreadable: int = 0

    def __post_init__(self) -> None:
        self._normalizers: dict[str, Normalizer] = {}
        self.detector = Detector(self.rules, Allowlist(self.rules.file.allow), self.rules.file.subjects)
        self._position = 0

    def feed(self, frame: bytes, reference: float, source: str) -> Iterator[Decision]:
        """One frame of a source -> the decisions that it brings about."""
        normalizer = self._normalizers.get(source)
        if normalizer is None:
            normalizer = self._normalizers[source] = Normalizer(self.rules.file.trusted, self.zone, self.lookup)
        batch = normalizer.normalize(frame, reference, source, self._position)
        self.lines += batch.lines
        self.ignored += batch.ignored
        self.unreadable += len(batch.dead_letters)
        self.dead_letters.extend(batch.dead_letters[: 100 - len(self.dead_letters)])
        yield from self._detect(batch.tallies)

    def _detect(self, tallies: Iterable[Tally]) -> Iterator[Decision]:
        while tallies:
            findings: Findings = self.detector.count(tallies, self._position)
            self._position += 1
            yield from findings.decisions
            tallies = findings.accusations


def first_time(frame: bytes, reference: float, zone: tzinfo) -> float:
    """Event time of the first readable line, seconds since 1970; ``-inf`` if there is none."""
    reader = LineReader(zone)
    for line in split_frame(frame):
        event = reader.read(line, reference)
        if isinstance(event, Event):
            return event.time.timestamp()
    return float("-inf")
