"""Log files -> the analytical store, by the very same flow as the cluster's jobs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from hashlib import blake2b

import msgspec

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import Detector
from pipeline.networks import CountryOf, no_country
from pipeline.normalize.normalizer import Normalizer
from pipeline.ports import RowStore
from pipeline.rules import RuleSet
from pipeline.rules.config import RulesFile
from pipeline.storage.rows import Columns, event_columns
from pipeline.storage.storing import Frame, Sink, months_of
from schemas.dead_letter import DeadLetter
from schemas.tally import Tally

Have = dict[str, dict[int, int]]  # source -> number of a frame -> events of it


def source_of(first_line: bytes) -> str:
    """The name that a log file's rows carry: by its first line, so that a file that was renamed, packed or has grown
    is known again."""
    return f"file:{blake2b(first_line, digest_size=8).hexdigest()}"


def stored_frames(store: RowStore, sources: Sequence[str]) -> Have:
    """Which frames of these sources the store has, and how many of their events; 0 where that is in doubt."""
    have: Have = {}
    for table, count in (("events", "0"), ("rates_per_minute", "sum(events)")):
        found = store.query(
            f"SELECT source, frame, {count} AS known FROM {table} "  # noqa: S608  # our own names
            "WHERE source IN :sources GROUP BY source, frame",
            sources=tuple(sources),
        )
        for source, frame, known in zip(found["source"], found["frame"].tolist(), found["known"].tolist(), strict=True):
            have.setdefault(source, {})[frame] = known
    return have


@dataclass
class Counts:
    """What came of the lines so far."""

    lines: int = 0
    events: int = 0
    ignored: int = 0
    unreadable: int = 0
    decisions: int = 0
    of_source: dict[str, tuple[int, int]] = field(default_factory=dict)
    """source -> its lines and events"""


class Part(msgspec.Struct):
    """What one frame of a source became, but for its events. ``events``: their number; ``position``: bytes of the file
    that were read so far."""

    source: str
    lines: int
    events: int
    ignored: int
    dead_letters: list[DeadLetter]
    tallies: list[Tally]
    position: int = 0
    rows: bytes = b""
    """Now and then: the events of this frame and of those before it, packed"""
    again: list[str] = []
    """Months (YYYYMM) of those among them that may be there already"""


class Reader:
    """Frames of several files in, what they became out."""

    def __init__(self, rules: RulesFile, zone: tzinfo = UTC, lookup: CountryOf = no_country) -> None:
        self._rules, self._zone, self._lookup = rules, zone, lookup
        self._normalizers: dict[str, Normalizer] = {}
        self._offsets: dict[str, int] = {}

    def read(self, content: bytes, reference: float, source: str) -> tuple[Part, Frame]:
        """One frame of a source. ``reference``: as ``Normalizer.normalize`` has it."""
        normalizer = self._normalizers.get(source)
        if normalizer is None:
            normalizer = self._normalizers[source] = Normalizer(self._rules.trusted, self._zone, self._lookup)
        offset = self._offsets.get(source, 0)
        self._offsets[source] = offset + 1
        batch = normalizer.normalize(content, reference, source, offset)
        part = Part(source, batch.lines, len(batch.events), batch.ignored, batch.dead_letters, batch.tallies)
        return part, Frame(source, offset, batch.events)


class Rows:
    """Collects the events of frames that are not stored yet, as columns."""

    def __init__(self, have: Have) -> None:
        """``have``: as ``stored_frames`` found it."""
        self._have = have
        self.clear()

    def clear(self) -> None:
        """Forgets what was collected."""
        self._frames: list[Frame] = []
        self._again: set[str] = set()
        self.waiting = 0

    def add(self, frame: Frame) -> None:
        """``waiting`` counts the rows."""
        have = self._have.get(frame.source, {}).get(frame.offset)
        if not frame.events or (have is not None and have >= len(frame.events)):
            return
        if have is not None:
            self._again |= months_of(frame)
        self._frames.append(frame)
        self.waiting += len(frame.events)

    def take(self) -> tuple[Columns, list[str]]:
        """The columns of ``events``, and the months in which rows may be there already; then it is empty."""
        found = event_columns((f.source, f.offset, f.events) for f in self._frames), sorted(self._again)
        self.clear()
        return found


class Loader:
    """What frames became in, dead letters and decisions into a sink. The caller flushes the sink."""

    def __init__(self, rules: RuleSet, zone: tzinfo = UTC, lookup: CountryOf = no_country) -> None:
        """``zone``, ``lookup``: for ``feed``."""
        self._reader = Reader(rules.file, zone, lookup)
        self._detector = Detector(rules, Allowlist(rules.file.allow), rules.file.subjects)
        self._position = 0
        self.counts = Counts()

    def feed(self, content: bytes, reference: float, source: str, sink: Sink) -> None:
        """One frame of a source, read here; its events too go into the sink."""
        part, frame = self._reader.read(content, reference, source)
        sink.add(frame)
        self.take(part, sink)

    def take(self, part: Part, sink: Sink) -> None:
        """One frame that a reader has read."""
        for letter in part.dead_letters:
            sink.add(letter)
        self._detect(part.tallies, sink)
        counts = self.counts
        counts.lines += part.lines
        counts.events += part.events
        counts.ignored += part.ignored
        counts.unreadable += len(part.dead_letters)
        lines, events = counts.of_source.get(part.source, (0, 0))
        counts.of_source[part.source] = (lines + part.lines, events + part.events)

    def use(self, rules: RuleSet) -> None:
        """Other rules from now on."""
        self._detector.use(rules, Allowlist(rules.file.allow))

    def _detect(self, tallies: Iterable[Tally], sink: Sink) -> None:
        while tallies:
            findings = self._detector.count(tallies, self._position)
            self._position += 1
            for decision in findings.decisions:
                sink.add(decision)
            self.counts.decisions += len(findings.decisions)
            tallies = findings.accusations
