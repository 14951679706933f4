"""Log files into a store: one process reads them, this one judges what it has read, and a thread writes.

The store may be a folder, which one process only can have open; reading is half of the work. So the reading process is
told what the store has, and sends the rows that are missing as Arrow, as the engine takes them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import tzinfo
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from pipeline.adapters.files.logfile import frames, open_log
from pipeline.adapters.prefetch import Prefetch
from pipeline.adapters.stores.chdb_store import from_bytes, to_bytes
from pipeline.detect.brake import WouldHold
from pipeline.networks import CountryOf, OurHosts
from pipeline.ports import RowStore
from pipeline.replay import Detection, LineCounts, Normalizers
from pipeline.rules import RuleSet
from pipeline.storage.storing import EventFrame, EventRows, KnownFrames, Sink, Storable, known_frames, unstored
from schemas.dead_letter import DeadLetter
from schemas.tally import Tally

ROWS = 200_000  # of one insert
PACK = 25_000  # rows that travel at once, few enough for the processor's caches
MAX_FIRST_LINE = 1 << 16  # bytes


@dataclass(frozen=True)
class LogFile:
    """A file to be loaded. ``source``: what its rows are called; ``digest``: of its unpacked content."""

    path: Path
    source: str
    digest: str


def identified(path: Path) -> LogFile:
    """The file with its names. Raises OSError for what cannot be read whole."""
    digest = blake2b(digest_size=16)
    with open_log(path) as log:
        first = chunk = log.content.read(MAX_FIRST_LINE)
        while chunk:
            digest.update(chunk)
            chunk = log.content.read(1 << 20)
    return LogFile(path, source_of(first.partition(b"\n")[0]), digest.hexdigest())


def source_of(first_line: bytes) -> str:
    """The name that a log file's rows carry: by its first line, so that a file that was renamed, packed or has grown
    is known again."""
    return f"file:{blake2b(first_line, digest_size=8).hexdigest()}"


class FrameRead(msgspec.Struct):
    """What the reading process tells of a frame. ``position``: bytes of the file that were read so far."""

    source: str
    counts: LineCounts
    dead_letters: list[DeadLetter]
    tallies: list[Tally]
    position: int
    rows: bytes = b""
    """Now and then: the missing rows of this frame and of those before it, as ``to_bytes`` packs them"""
    months: list[str] = []
    """See ``EventRows``"""


@dataclass(frozen=True)
class LogReader:
    """The work of the reading process. ``ours``: hosts that are nobody's origin; ``zone``: of lines without one;
    ``zones``: of single hosts."""

    ours: OurHosts
    zone: tzinfo
    lookup: CountryOf
    zones: Mapping[str, tzinfo] = field(default_factory=dict)

    def __call__(self, task: tuple[Sequence[LogFile], KnownFrames]) -> Iterator[bytes]:
        """Files, and what the store has of them -> each frame in the order of replay, as encoded ``FrameRead``.

        Raises OSError, after all that can be read.
        """
        files, known = task
        encode = msgspec.msgpack.Encoder().encode
        waiting: list[EventFrame] = []
        events = 0
        named = [(file.path.name, frames(file.path, file.source)) for file in files]
        for frame in Normalizers(self.ours, self.zone, self.lookup, self.zones).in_order(named):
            batch = frame.batch
            read = FrameRead(frame.source, frame.counts, batch.dead_letters, batch.tallies, frame.position)
            waiting.append(EventFrame(frame.source, frame.number, batch.events))
            events += len(batch.events)
            if events >= PACK:
                _pack(waiting, known, read)
                waiting, events = [], 0
            yield encode(read)
        if waiting:
            last = FrameRead(frame.source, LineCounts(), [], [], frame.position)
            _pack(waiting, known, last)
            yield encode(last)


def _pack(waiting: Sequence[EventFrame], known: KnownFrames, into: FrameRead) -> None:
    rows = unstored(waiting, known)
    if rows.number:
        into.rows, into.months = to_bytes(rows.columns), sorted(rows.months)


class WriteBehind:
    """Fills one sink while a thread writes another. Context manager: in the end, without an error, all is written.

    What the thread raises (StoreUnavailable, StoreError) is raised by the next write, or in the end.
    """

    def __init__(self, store: RowStore) -> None:
        self._sink, self._other = Sink(store), Sink(store)
        self._packed: list[bytes] = []
        self._months: set[str] = set()
        self._thread = ThreadPoolExecutor(1, "store")
        self._writing: Future[None] | None = None

    def add_all(self, messages: Iterable[Storable]) -> None:
        """Adds what a sink takes."""
        self._sink.add_all(messages)

    def add_packed(self, rows: bytes, months: Sequence[str]) -> None:
        """Adds rows as ``FrameRead`` has them, and begins to write if it is enough for an insert."""
        if rows:
            self._packed.append(rows)
            self._months.update(months)
        if len(self._packed) * PACK >= ROWS or self._sink.waiting >= ROWS:
            self._write()

    def _write(self) -> None:
        self._wait()
        self._writing = self._thread.submit(_flush, self._sink, self._packed, self._months)
        self._sink, self._other = self._other, self._sink
        self._packed, self._months = [], set()

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._thread:
            if kind is None:
                self._write()
                self._wait()


def _flush(sink: Sink, packed: Sequence[bytes], months: set[str]) -> None:
    if packed:
        sink.add(EventRows(from_bytes(packed), months))
    sink.flush()


@dataclass
class Loaded:
    """What came of it so far. ``of_source``: the counts of each file's lines, by its ``source``; ``would_hold``: of all
    decisions, in the end."""

    counts: LineCounts = field(default_factory=LineCounts)
    decisions: int = 0
    of_source: dict[str, LineCounts] = field(default_factory=dict)
    would_hold: WouldHold = field(default_factory=WouldHold)


def load(
    store: RowStore,
    rules: RuleSet,
    files: Sequence[LogFile],
    reader: Prefetch[tuple[Sequence[LogFile], KnownFrames]],
    progress: Callable[[Loaded, FrameRead], None],
    partitions: int = 1,
) -> Loaded:
    """Stores what the files hold and what the rules decide on it. ``reader``: a process at work as ``LogReader``;
    ``partitions``: see ``Detection``.

    Raises OSError, StoreUnavailable, StoreError, WorkerLost: some of it is stored then, and the next ``load`` adds the
    rest.
    """
    loaded, detection = Loaded(), Detection(rules, partitions)
    decode = msgspec.msgpack.Decoder(FrameRead).decode
    known = known_frames(store, [file.source for file in files])
    with WriteBehind(store) as out:
        for read in map(decode, reader.results((files, known))):
            decisions = detection.count(read.tallies)
            out.add_all(read.dead_letters)
            out.add_all(decisions)
            out.add_packed(read.rows, read.months)
            loaded.counts.add(read.counts)
            loaded.of_source.setdefault(read.source, LineCounts()).add(read.counts)
            loaded.decisions += len(decisions)
            progress(loaded, read)
    loaded.would_hold = detection.would_hold
    return loaded
