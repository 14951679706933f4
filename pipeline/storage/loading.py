"""Log files -> the analytical store, by the very same flow as the cluster's jobs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import tzinfo
from hashlib import blake2b

from pipeline.decide import Allowlist
from pipeline.detector import Detector
from pipeline.enrich import Lookup
from pipeline.flow import Normalizer
from pipeline.rules import RuleSet
from pipeline.storage.storing import Frame, Sink
from schemas.tally import Tally


def source_of(first_line: bytes) -> str:
    """The name that a log file's rows carry: by its first line, so that a file that was renamed, packed or has grown
    is known again."""
    return f"file:{blake2b(first_line, digest_size=8).hexdigest()}"


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


class Loader:
    """Frames of several files in, events, dead letters and decisions into a sink. The caller flushes the sink."""

    def __init__(self, rules: RuleSet, zone: tzinfo, lookup: Lookup) -> None:
        self._rules, self._zone, self._lookup = rules, zone, lookup
        self._normalizers: dict[str, Normalizer] = {}
        self._offsets: dict[str, int] = {}
        self._detector = Detector(rules, Allowlist(rules.file.allow), rules.file.subjects)
        self._position = 0
        self.counts = Counts()

    def feed(self, content: bytes, reference: float, source: str, sink: Sink) -> None:
        """One frame of a source. ``reference``: as ``Normalizer.normalize`` has it."""
        normalizer = self._normalizers.get(source)
        if normalizer is None:
            normalizer = self._normalizers[source] = Normalizer(self._rules.file, self._zone, self._lookup)
        offset = self._offsets.get(source, 0)
        self._offsets[source] = offset + 1
        batch = normalizer.normalize(content, reference, source, offset)
        sink.add(Frame(source, offset, batch.events))
        for letter in batch.dead_letters:
            sink.add(letter)
        self._detect(batch.tallies, sink)
        counts = self.counts
        counts.lines += batch.lines
        counts.events += len(batch.events)
        counts.ignored += batch.ignored
        counts.unreadable += len(batch.dead_letters)
        lines, events = counts.of_source.get(source, (0, 0))
        counts.of_source[source] = (lines + batch.lines, events + len(batch.events))

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
