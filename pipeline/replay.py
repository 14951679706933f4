"""The whole flow in memory: frames of log files, in the order of time, through normalizers and a detector.

Whoever drives the flow outside of the cluster's jobs takes the pieces from here (``replay``, ``load``, the notebooks'
sample; backtests count partition by partition, but read and order as all do), so that the same files give the same
decisions. The order of frames: by the time of their first event; of equal times by the file's base name, then by the
file's place among those that were given; those of one file always stay in their order.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, tzinfo
from operator import itemgetter
from types import MappingProxyType
from typing import TypeVar

import msgspec

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.brake import Brakes, WouldHold
from pipeline.detect.detector import Detector
from pipeline.detect.release import Released
from pipeline.networks import CountryOf, OurHosts, no_country
from pipeline.normalize.doubles import Doubles
from pipeline.normalize.normalizer import Batch, Normalizer, Sender
from pipeline.rules import RuleSet
from schemas.dead_letter import DeadLetter
from schemas.enforcement import Decision
from schemas.event import Event
from schemas.tally import Tally

MAX_UNREAD = 100  # dead letters kept to be shown
NOWHEN = -1  # the place in time of a frame without events: before all others

Item = TypeVar("Item")


class LogFrame(msgspec.Struct, frozen=True, gc=False):
    """Whole lines of a source. ``reference``: seconds since 1970, not before they were written; it tells the year of
    lines without one. ``position``: bytes of the source (packed, if it is) that were read so far."""

    source: str
    content: bytes
    reference: float
    position: int = 0


class LineCounts(msgspec.Struct, gc=False):
    """How many lines there were, and what they became. ``moved``: events that got another time; ``clocks``: by
    host, the seconds that it was ahead at most; ``left``: events later than their file's change that kept theirs;
    ``doubled``: lines that another file held too, and which did not count again."""

    lines: int = 0
    events: int = 0
    ignored: int = 0
    unreadable: int = 0
    moved: int = 0
    clocks: dict[str, int] = msgspec.field(default_factory=dict)
    left: int = 0
    doubled: int = 0

    def add(self, other: "LineCounts") -> None:
        """Adds the other's to these."""
        self.lines += other.lines
        self.events += other.events
        self.ignored += other.ignored
        self.unreadable += other.unreadable
        self.moved += other.moved
        self.left += other.left
        self.doubled += other.doubled
        for host, ahead in other.clocks.items():
            self.clocks[host] = max(ahead, self.clocks.get(host, 0))


class NormalizedFrame(msgspec.Struct, frozen=True, gc=False):
    """What a frame became. ``number``: of the frame in its source, from 0; ``position``: as the frame has it."""

    source: str
    number: int
    position: int
    batch: Batch

    @property
    def at(self) -> int:
        """Its place in time, see ``place_in_time``."""
        return place_in_time(self.batch.events)

    @property
    def counts(self) -> LineCounts:
        """Of its lines."""
        batch = self.batch
        lines, moved = batch.lines, batch.moved
        return LineCounts(lines, len(batch.events), batch.ignored, len(batch.dead_letters), *moved, batch.doubled)


def place_in_time(events: Sequence[Event]) -> int:
    """Of a frame: the time of its first event, in whole milliseconds since 1970, as a store keeps it; ``NOWHEN``
    without events."""
    if not events:
        return NOWHEN
    time = events[0].time
    return int(time.timestamp()) * 1000 + time.microsecond // 1000


def in_order(
    streams: Sequence[Iterable[Item]], names: Sequence[str], at: Callable[[Item], int]
) -> Iterator[tuple[int, Item]]:
    """The one merge: (number of the stream, item), by the items' place in time, then by the stream's name, then by its
    number. The items of a stream stay in their order, also where their times do not rise."""
    ranks = {number: rank for rank, number in enumerate(sorted(range(len(names)), key=names.__getitem__))}

    def placed(number: int) -> Callable[[Item], tuple[int, int, int, Item]]:
        return lambda item: (at(item), ranks[number], number, item)

    # Nothing here holds an item while the next one is made, so that it can take the same memory.
    placed_streams = (map(placed(number), stream) for number, stream in enumerate(streams))
    return map(itemgetter(2, 3), heapq.merge(*placed_streams, key=itemgetter(0, 1)))


class Normalizers:
    """One normalizer for each source: queue ids and sessions of one file say nothing of another's. But lines that
    several files hold count once."""

    def __init__(
        self,
        ours: OurHosts,
        zone: tzinfo = UTC,
        lookup: CountryOf = no_country,
        zones: Mapping[str, tzinfo] = MappingProxyType({}),
        doubles: Doubles | None = None,
    ) -> None:
        """See ``Normalizer``. ``in_order`` finds the doubles of its files by itself."""
        self._ours, self._zone, self._lookup, self._zones = ours, zone, lookup, zones
        self._doubles = doubles
        self._of: dict[tuple[int, str], Normalizer] = {}
        self._numbers: dict[tuple[int, str], int] = {}

    def normalize(self, frame: LogFrame, file: int = 0) -> NormalizedFrame:
        """The next frame of its source. ``file``: its number, where there are several."""
        source = file, frame.source
        normalizer = self._of.get(source)
        if normalizer is None:
            normalizer = self._of[source] = Normalizer(
                self._ours, self._zone, self._lookup, self._zones, doubles=self._doubles, apart=True
            )
        number = self._numbers.get(source, 0)
        self._numbers[source] = number + 1
        batch = normalizer.normalize(frame.content, frame.reference, frame.source, number, sender=Sender(file=file))
        return NormalizedFrame(frame.source, number, frame.position, batch)

    def rest(self, source: str, position: int, file: int = 0) -> NormalizedFrame | None:
        """Of a source that was read to its end: what was held for a line that did not come."""
        normalizer = self._of.get((file, source))
        batch = normalizer.finish() if normalizer is not None else None
        if batch is None or not batch.events:
            return None
        number = self._numbers[file, source]
        self._numbers[file, source] = number + 1
        return NormalizedFrame(source, number, position, batch)

    def read_all(self, frames: Iterable[LogFrame], file: int = 0) -> Iterator[NormalizedFrame]:
        """All frames of a source to its end, and the ``rest``."""
        source, position = "", 0
        for frame in frames:
            source, position = frame.source, frame.position
            yield self.normalize(frame, file)
            del frame  # the next one can take its memory
        rest = self.rest(source, position, file)
        if rest is not None:
            yield rest

    def in_order(self, files: Sequence[tuple[str, Iterable[LogFrame]]]) -> Iterator[NormalizedFrame]:
        """All frames of several files, given as (base name, frames), in the order that is told above.

        A file that is given twice is two that hold the same.
        """
        if len(files) > 1:
            self._doubles = Doubles()
        streams = [self.read_all(frames, file) for file, (_, frames) in enumerate(files)]
        merged = in_order(streams, [name for name, _ in files], lambda frame: frame.at)
        return map(itemgetter(1), merged)


class Detection:
    """A detector that counts all subjects, frame after frame, and right after each the accusations that came of it.

    Nothing is held, but it is noted what the brakes of a cluster of so many ``partitions`` would hold. ``held``: those
    decisions, by id.
    """

    def __init__(self, rules: RuleSet, partitions: int = 1) -> None:
        self._partitions, self._brakes = partitions, Brakes(partitions)
        self._detector = Detector(rules, Allowlist(rules.file.allow), rules.file.subjects, brakes=self._brakes)
        self._position = 0
        self.held: dict[str, Decision] = {}

    @property
    def would_hold(self) -> WouldHold:
        """``held``, summed up."""
        return WouldHold.of(self.held.values(), self._partitions, self._brakes.most)

    def count(self, tallies: Iterable[Tally]) -> list[Decision]:
        """A frame's tallies in, the decisions that they bring about out."""
        decisions: list[Decision] = []
        while tallies:
            findings = self._detector.count(tallies, self._position)
            self._position += 1
            decisions += findings.decisions
            self.held |= {decision.id: decision for decision in findings.held}
            tallies = findings.accusations
        return decisions

    def release(self, *releases: Released) -> None:
        """What operators lifted, by the time of the lines."""
        self._detector.release(releases)

    def use(self, rules: RuleSet) -> None:
        """Other rules from now on."""
        self._detector.use(rules, Allowlist(rules.file.allow))


class Replay:
    """The whole flow. ``counts``: of all lines so far; ``unread``: the first ``MAX_UNREAD`` dead letters."""

    def __init__(
        self,
        rules: RuleSet,
        zone: tzinfo = UTC,
        lookup: CountryOf = no_country,
        zones: Mapping[str, tzinfo] = MappingProxyType({}),
        partitions: int = 1,
    ) -> None:
        """``zone``: of lines that carry none; ``zones``: of single hosts; ``partitions``: see ``Detection``."""
        self._normalizers = Normalizers(rules.file.trusted, zone, lookup, zones)
        self._detection = Detection(rules, partitions)
        self.counts = LineCounts()
        self.unread: list[DeadLetter] = []

    def run(self, files: Sequence[tuple[str, Iterable[LogFrame]]]) -> Iterator[tuple[NormalizedFrame, list[Decision]]]:
        """Several files, given as (base name, frames): each frame, and the decisions that it brings about."""
        return map(self._decide, self._normalizers.in_order(files))

    def feed(self, frame: LogFrame) -> tuple[NormalizedFrame, list[Decision]]:
        """The same of a single frame."""
        return self._decide(self._normalizers.normalize(frame))

    @property
    def held(self) -> Mapping[str, Decision]:
        """See ``Detection``."""
        return self._detection.held

    @property
    def would_hold(self) -> WouldHold:
        """See ``Detection``."""
        return self._detection.would_hold

    def use(self, rules: RuleSet) -> None:
        """Other rules from now on; trusted hosts stay those of before."""
        self._detection.use(rules)

    def _decide(self, frame: NormalizedFrame) -> tuple[NormalizedFrame, list[Decision]]:
        self.counts.add(frame.counts)
        self.unread += frame.batch.dead_letters[: MAX_UNREAD - len(self.unread)]
        return frame, self._detection.count(frame.batch.tallies)
