"""``sekimori load``: log files into a folder that analysts query and notebooks open, without any server."""

import heapq
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec

from pipeline.adapters.files.logfile import FileFrame, frames, open_log
from pipeline.adapters.stores.chdb_store import ChdbStore, from_bytes, rows_at, to_bytes
from pipeline.adapters.trials.prefetch import Ahead
from pipeline.adapters.trials.workers import WorkerLost
from pipeline.cli.common import FILE, clear_errors, country_lookup, flow_options, note_no_geoip, rules_in_force
from pipeline.cli.terminal import lines_progress
from pipeline.normalize.enrich import Lookup
from pipeline.ports import RowStore
from pipeline.replay import first_time
from pipeline.rules.config import RulesFile
from pipeline.storage.loading import Have, Loader, Part, Reader, Rows, source_of, stored_frames
from pipeline.storage.storing import Sink, apply_ddl, inserts, merge

FRAME = 1 << 14  # bytes; always the same, so that a file gives the same frames whatever is loaded beside it
ROWS = 200_000  # of one insert
PACK = 25_000  # rows that travel at once, few enough for the processor's caches
MAX_FIRST_LINE = 1 << 16  # bytes
PART = msgspec.msgpack.Decoder(Part)


@dataclass(frozen=True)
class LogFile:
    """A file to be loaded. ``source``: what its rows are called; ``digest``: of its unpacked content."""

    path: Path
    source: str
    digest: str


@dataclass(frozen=True)
class Reading:
    """Reads files, frame by frame in the order of the frames' first lines, for another process: encoded parts."""

    rules: RulesFile
    zone: ZoneInfo
    lookup: Lookup

    def __call__(self, task: tuple[Sequence[LogFile], Have]) -> Iterator[bytes]:
        """Raises OSError, after all that can be read."""
        files, have = task
        reader, rows = Reader(self.rules, self.zone, self.lookup), Rows(have)
        for source, file_frame in self._in_order(files):
            part, frame = reader.read(file_frame.content, file_frame.reference, source)
            part.position = file_frame.compressed_position
            rows.add(frame)
            if rows.waiting >= PACK:
                _pack(rows, part)
            yield msgspec.msgpack.encode(part)
        if rows.waiting:
            rest = Part(part.source, 0, 0, 0, [], [], part.position)
            _pack(rows, rest)
            yield msgspec.msgpack.encode(rest)

    def _in_order(self, files: Sequence[LogFile]) -> Iterator[tuple[str, FileFrame]]:
        def timed(number: int, file: LogFile) -> Iterator[tuple[float, int, FileFrame]]:
            for frame in frames(file.path, FRAME):
                at = first_time(frame.content, frame.reference, self.zone) if len(files) > 1 else 0.0
                yield at, number, frame

        streams = (timed(number, file) for number, file in enumerate(files))
        for _, number, frame in heapq.merge(*streams, key=lambda item: item[:2]):
            yield files[number].source, frame


def _pack(rows: Rows, part: Part) -> None:
    columns, part.again = rows.take()
    part.rows = to_bytes(columns)


@click.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--into", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder.")
@flow_options
def load(
    files: tuple[Path, ...], folder: Path, rules_path: Path | None, geoip: Path | None, home: str, zone: ZoneInfo
) -> None:
    """Loads logs into a folder for analysis: events, rates per minute, and what the rules would have decided.

    FILES are logs of any of the known formats, plain or gz. A file that is in the folder already is left out, and of
    one that has grown only what is new is added. The notebooks open the folder: set SEKIMORI_ANALYSIS to its path.
    """
    with clear_errors(WorkerLost):
        rules = rules_in_force(rules_path, home)
        reading = Reading(rules.file, zone, country_lookup(geoip))
        started, loader = time.monotonic(), Loader(rules)
        with Ahead(reading) as ahead, ChdbStore(folder) as store:
            apply_ddl(store)
            new = _new_files(store, files)
            if new:
                have = stored_frames(store, [file.source for file in new])
                _load(store, loader, new, map(PART.decode, ahead.results((new, have))))
                _remember(store, loader, new)
    counts, took = loader.counts, time.monotonic() - started
    if new:
        note_no_geoip(geoip)
    click.echo(
        f"{counts.lines:,} lines in {took:.1f} s ({counts.lines / max(took, 1e-9):,.0f} lines/s): "
        f"{counts.events:,} events, {counts.decisions} decisions, "
        f"{counts.ignored:,} lines of no known format, {counts.unreadable:,} unreadable"
    )


def _new_files(store: RowStore, paths: Sequence[Path]) -> list[LogFile]:
    known = set(store.query("SELECT DISTINCT digest FROM loads")["digest"])
    new: dict[str, LogFile] = {}
    for path in paths:
        file = _identified(path)
        alike = next((other.path for other in new.values() if other.source == file.source), None)
        if alike and file.digest not in new:
            raise click.ClickException(f"{alike} and {path} begin alike; give only the longer one")
        if file.digest in known or file.digest in new:
            click.echo(f"{path}: is there already; to load it with other rules or places, use another folder", err=True)
        else:
            new[file.digest] = file
    return list(new.values())


def _identified(path: Path) -> LogFile:
    digest = blake2b(digest_size=16)
    with open_log(path) as file:
        first = chunk = file.read(MAX_FIRST_LINE)
        while chunk:
            digest.update(chunk)
            chunk = file.read(1 << 20)
    return LogFile(path, source_of(first.partition(b"\n")[0]), digest.hexdigest())


class _Pending:
    """What is to be written next."""

    def __init__(self, store: RowStore) -> None:
        self._store = store
        self.sink = Sink(store)
        self._rows: list[bytes] = []
        self._again: set[str] = set()

    def add(self, part: Part) -> bool:
        """True if it is enough for an insert."""
        if part.rows:
            self._rows.append(part.rows)
            self._again.update(part.again)
        return len(self._rows) * PACK >= ROWS or self.sink.waiting >= ROWS

    def write(self) -> None:
        """Raises StoreUnavailable, StoreError."""
        if self._rows:
            for columns in inserts(from_bytes(self._rows), "time", rows_at):
                self._store.insert("events", columns)
        for month in sorted(self._again):
            merge(self._store, month)
        self.sink.flush()
        self._rows, self._again = [], set()


def _load(store: RowStore, loader: Loader, files: Sequence[LogFile], parts: Iterable[Part]) -> None:
    """Judges here what another process reads, while another thread writes what was judged before."""
    now, then = _Pending(store), _Pending(store)
    writing: Future[None] | None = None
    total = sum(file.path.stat().st_size for file in files)
    with lines_progress("load", total) as show, ThreadPoolExecutor(1, "store") as writer:
        for part in parts:
            loader.take(part, now.sink)
            show(part.source, part.position, loader.counts.lines, loader.counts.decisions)
            if now.add(part):
                if writing is not None:
                    writing.result()
                writing = writer.submit(now.write)
                now, then = then, now
        if writing is not None:
            writing.result()
        now.write()


def _remember(store: RowStore, loader: Loader, files: Sequence[LogFile]) -> None:
    counts = [loader.counts.of_source.get(file.source, (0, 0)) for file in files]
    store.insert(
        "loads",
        {
            "digest": [file.digest for file in files],
            "name": [file.path.name.encode("utf-8", "backslashreplace").decode() for file in files],
            "time": [int(time.time())] * len(files),
            "lines": [lines for lines, _ in counts],
            "events": [events for _, events in counts],
        },
    )
