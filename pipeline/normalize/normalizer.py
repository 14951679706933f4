"""Frames of raw lines of one source -> events, tallies and dead letters: formats, join, enrich, attempts and tally,
composed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from pipeline.formats.reading.around.missed import Missed, MissedLines, looks_like_mail
from pipeline.formats.reading.format import Unreadable
from pipeline.formats.reading.lines import LineReader, split_frame
from pipeline.networks import CountryOf, OurHosts, no_country
from pipeline.normalize.attempts.attempts import Attempts, AttemptState, Settled
from pipeline.normalize.clocks import NOTHING, Clocks, HostClock, Moved
from pipeline.normalize.doubles import Counted, Doubles, after_join, before_join
from pipeline.normalize.enrich import Enricher
from pipeline.normalize.joining.join import Joiner
from pipeline.normalize.tally import Tallier
from schemas.dead_letter import DeadLetter
from schemas.event import Event
from schemas.tally import LAST_TIME, Tally
from schemas.times import DAY

# Connections and the rest are neither looked up nor counted; a queued message may turn out to be a submission.
COUNTED = frozenset({"submission", "delivery", "auth_failure", "auth_success", "reject"})
_TELLING = frozenset(("queued", "temporary"))  # a message that may be a submission, a server's trouble
MAX_ZONES = 16  # that senders tell, each with the caches of its reader
MAX_RAW = 4096  # characters of an unreadable line that are kept
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD = DAY  # seconds that a clock may be ahead: whoever is, makes all others look late
OUT_OF_TIME = Unreadable("time", "more than a day ahead of when the line was received, or before 1970")


@dataclass(frozen=True)
class Batch:
    """What one frame became. ``events``: of claims (see ``attempts``) those that were settled with it, whichever frame
    they are of. ``ignored``: lines that no format claims. ``moved``: those that got another time.
    ``doubled``: those that another file held too, and which count no more: their events are of the kind ``other``.
    ``missed``: of those ignored, the ones that look like mail log."""

    events: list[Event]
    tallies: list[Tally]
    dead_letters: list[DeadLetter]
    lines: int
    ignored: int
    moved: Moved
    doubled: int = 0
    missed: tuple[Missed, ...] = ()


class Sender(NamedTuple):
    """What is known of who sent a frame. ``host``: the one that its lines are of, where they name none. ``file``: which
    file they were read from; 0: none that is told. ``zone``: of that host's clock."""

    host: str = ""
    file: int = 0
    zone: tzinfo | None = None


NOBODY = Sender()


class NormalizerState(msgspec.Struct, array_like=True):
    """What is saved. Fields are read by their places: new ones come last, and have defaults."""

    joined: bytes
    clocks: dict[str, HostClock]
    doubles: bytes = b""
    attempts: AttemptState | None = None


class Normalizer:
    """Raw frames of one source (a partition, or a file), in order -> events and tallies.

    Holds the join state of the source, and what is known of clocks; everything else it holds is caches.
    """

    def __init__(
        self,
        ours: OurHosts,
        zone: tzinfo = UTC,
        lookup: CountryOf = no_country,
        zones: Mapping[str, tzinfo] = MappingProxyType({}),
        fixed: bool = False,
        doubles: Doubles | None = None,
        apart: bool = False,
    ) -> None:
        """``ours``: hosts that are nobody's origin. ``zone``: of lines that carry none; ``zones``: of single hosts.
        ``fixed``: ``zone`` holds whatever a sender tells. ``doubles``: what several files may hold; None: they hold
        nothing in common. ``apart``: other files have normalizers of their own, with the same ``doubles``."""
        self.reader = LineReader(zone, zones)
        self.doubles, self._apart = doubles, apart
        self._zones, self._fixed = zones, fixed
        self._readers: dict[tzinfo, LineReader] = {}  # by the zone that a sender tells
        self.clocks = Clocks()
        self.joiner = Joiner(ours.webmails())
        self.enricher = Enricher(lookup)
        self.attempts = Attempts()
        self.tallier = Tallier(ours.predicate())

    def scatter(self) -> None:
        """From now on lines that belong together may come in any order."""
        self.joiner.scattered = self.attempts.scattered = True

    @property
    def forgotten(self) -> int:
        """Queue ids and sessions that had to be forgotten to stay in bounds."""
        return self.joiner.forgotten + self.attempts.forgotten

    def reader_of(self, zone: tzinfo | None) -> LineReader:
        """What reads the lines of a sender who tells this zone, or none."""
        if zone is None or self._fixed:
            return self.reader
        reader = self._readers.get(zone)
        if reader is None:
            if len(self._readers) >= MAX_ZONES:
                self._readers.clear()
            reader = self._readers[zone] = LineReader(zone, self._zones)
        return reader

    def normalize(
        self, frame: bytes, reference: float, source: str, offset: int, live: bool = False, sender: Sender = NOBODY
    ) -> Batch:
        """``reference``: seconds since 1970, when the frame arrived; tells the year of lines without one. ``live``: the
        lines arrived as they were written, see ``clocks``.

        ``source``, ``offset``: where the frame came from; they name it in dead letters.
        """
        lines = split_frame(frame)
        events: list[Event] = []
        counted: list[Counted] = []
        openings: list[Counted] = []  # of sessions, and their ends: twice, they would end at once
        dead: list[DeadLetter] = []
        ignored, missed = 0, MissedLines()
        latest, checked, possible = _time(reference + AHEAD), EPOCH, True
        newest, repeated, scattered = EPOCH, False, self.joiner.scattered
        shared = self.doubles is not None and not self._apart
        reader = self.reader_of(sender.zone)
        for line, read in zip(lines, reader.read_lines(lines, reference), strict=True):
            if read is None:
                ignored += 1
                if looks_like_mail(line):
                    host, form = reader.form_of(line, reference)
                    missed.add(host or sender.host, form, 1, line)
                continue
            if isinstance(read, Unreadable):
                dead.append(_dead_letter(source, offset, ignored + len(events) + len(dead), line, read, reference))
                continue
            if read.time is not checked:
                checked, possible = read.time, EPOCH <= read.time <= latest
                if possible and checked > newest:
                    newest = checked
                if checked.fold:
                    repeated = True
            if not possible:
                why = OUT_OF_TIME
                dead.append(_dead_letter(source, offset, ignored + len(events) + len(dead), line, why, reference))
                continue
            events.append(read)
            if read.kind in COUNTED or (read.status or read.reason) in _TELLING or scattered:
                counted.append((read, line))
            elif shared and read.session is not None and read.kind == "connect":
                openings.append((read, line))
        moved = self.clocks.hold(events, newest, reference, live, repeated) if events else NOTHING
        doubles = self._join(events, openings, counted, sender)
        if scattered:  # a client's line, too, may have turned out to be the one that makes a submission
            counted = [(event, line) for event, line in counted if _may_count(event)]
        self.enricher.enrich(counted)
        settled = self.attempts.settle(events, counted)
        return self._batch(settled, dead, len(lines), ignored, moved, doubles, missed)

    def finish(self) -> Batch:
        """What was held as long as another line might come: there is none. Of a file that was read to its end."""
        return self._batch(self.attempts.finish(), [], 0, 0, NOTHING, 0, MissedLines())

    def _batch(
        self,
        settled: Settled,
        dead: list[DeadLetter],
        lines: int,
        ignored: int,
        moved: Moved,
        doubles: int,
        missed: MissedLines,
    ) -> Batch:
        tallies = self.tallier.tally(settled.counted)
        return Batch(settled.events, tallies, dead, lines, ignored, moved, doubles, tuple(missed.all()))

    def _join(self, events: list[Event], openings: list[Counted], counted: list[Counted], sender: Sender) -> int:
        """Joins events, and takes from doubles what they say; returns how many they are."""
        if self.doubles is None:
            self.joiner.join(events)
            return 0
        scattered = self.joiner.scattered
        before = [] if self._apart else openings + before_join(counted, scattered)
        doubles = self.doubles.among(before, sender.file, sender.host)
        if doubles:
            known = set(map(id, doubles))
            self.joiner.join(event for event in events if id(event) not in known)
        else:
            self.joiner.join(events)
        doubles += self.doubles.among(after_join(counted, self._apart, scattered), sender.file, sender.host)
        for event in doubles:
            event.told_in_full()
        return len(doubles)

    def dump(self) -> bytes:
        """The state, to be kept with the offset up to which frames were normalised."""
        doubles = b"" if self.doubles is None else self.doubles.dump()
        state = NormalizerState(self.joiner.dump(), self.clocks.dump(), doubles, self.attempts.dump())
        return msgspec.msgpack.encode(state)

    def load(self, dumped: bytes) -> None:
        """Inverse of ``dump``. Raises msgspec.DecodeError."""
        state = msgspec.msgpack.decode(dumped, type=NormalizerState)
        self.load_joined(state.joined)
        self.clocks.load(state.clocks)
        if self.doubles is not None and state.doubles:
            self.doubles.load(state.doubles)
        if state.attempts is not None:
            self.attempts.load(state.attempts)

    def load_joined(self, dumped: bytes) -> None:
        """The same, of a version whose state was no more than what it joined."""
        joined = self.joiner.load(dumped)
        self.attempts.take_over(joined.sessions, *joined.echoes)

    def retell(self, events: Iterable[Event]) -> list[Tally]:
        """The events of one frame, normalised before (stored ones, say) -> the same tallies, but for sample lines."""
        return self.tallier.tally((event, "") for event in events)


def _may_count(event: Event) -> bool:
    """Or tells that others may not."""
    return event.kind in COUNTED or (event.status or event.reason) in _TELLING


def _dead_letter(source: str, offset: int, index: int, line: str, why: Unreadable, reference: float) -> DeadLetter:
    return DeadLetter(
        source=source,
        offset=offset,
        index=index,
        reason=f"{why.format}: {why.reason}",
        raw=line[:MAX_RAW],
        time=_time(reference),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0.0), LAST_TIME - 1), UTC)
