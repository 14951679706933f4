"""``sekimori load``: log files into a folder that analysts query and notebooks open, without any server."""

import heapq
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipeline.adapters.files.logfile import FileFrame, frames, open_log
from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.adapters.stores.chdb_store import ChdbStore, from_bytes, rows_at, to_bytes
from pipeline.adapters.trials.prefetch import Ahead
from pipeline.adapters.trials.workers import WorkerLost
from pipeline.networks import CountryOf, no_country
from pipeline.ports import RowStore, StoreError, StoreUnavailable
from pipeline.replay import first_time
from pipeline.rules import build
from pipeline.rules.config import RulesError, RulesFile
from pipeline.rules.config import load as load_rules
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
    lookup: CountryOf

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
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--into", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder.")
@click.option("--rules", "rules_path", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Rules file.")
@click.option("--geoip", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="MaxMind DB file.")
@click.option("--home", default="JP", show_default=True, help="ISO 3166 code of the provider's country.")
@click.option("--zone", default="UTC", show_default=True, help="IANA zone of lines without one, e.g. Asia/Tokyo.")
def load(
    files: tuple[Path, ...], folder: Path, rules_path: Path | None, geoip: Path | None, home: str, zone: str
) -> None:
    """Loads logs into a folder for analysis: events, rates per minute, and what the rules would have decided.

    FILES are logs of any of the known formats, plain or gz. A file that is in the folder already is left out, and of
    one that has grown only what is new is added. The notebooks open the folder: set SEKIMORI_ANALYSIS to its path.
    """
    try:
        rules = build(load_rules(rules_path), home, str(rules_path or "default.toml"))
        reading = Reading(rules.file, ZoneInfo(zone), GeoFile(geoip) if geoip else no_country)
    except (RulesError, GeoFileError) as error:
        raise click.ClickException(str(error)) from None
    except (ZoneInfoNotFoundError, ValueError):
        raise click.BadParameter(f"{zone!r} is no IANA zone such as Asia/Tokyo", param_hint="--zone") from None
    started, loader = time.monotonic(), Loader(rules)
    try:
        with Ahead(reading) as ahead, ChdbStore(folder) as store:
            apply_ddl(store)
            new = _new_files(store, files)
            if new:
                have = stored_frames(store, [file.source for file in new])
                _load(store, loader, new, map(PART.decode, ahead.results((new, have))))
                _remember(store, loader, new)
    except (OSError, EOFError, zlib.error, StoreUnavailable, StoreError, WorkerLost) as error:
        raise click.ClickException(str(error)) from None
    counts, took = loader.counts, time.monotonic() - started
    if geoip is None and new:
        click.echo("No --geoip file: every address counts as at home.", err=True)
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
    with _progress(files) as progress, ThreadPoolExecutor(1, "store") as writer:
        task = progress.tasks[0].id
        for part in parts:
            loader.take(part, now.sink)
            _show(progress, task, loader, part)
            if now.add(part):
                if writing is not None:
                    writing.result()
                writing = writer.submit(now.write)
                now, then = then, now
        if writing is not None:
            writing.result()
        now.write()


def _progress(files: Sequence[LogFile]) -> Progress:
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("load"),
        BarColumn(),
        TextColumn("{task.fields[lines]:,} lines, {task.fields[found]} decisions"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    sizes = {str(file.path): os.stat(file.path).st_size for file in files}
    progress.add_task("load", total=sum(sizes.values()), lines=0, found=0, positions={})
    return progress


def _show(progress: Progress, task: TaskID, loader: Loader, part: Part) -> None:
    positions = progress.tasks[0].fields["positions"]
    positions[part.source] = part.position
    progress.update(task, completed=sum(positions.values()), lines=loader.counts.lines, found=loader.counts.decisions)


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
