"""``sekimori load``: log files into a folder that analysts query and notebooks open, without any server."""

import heapq
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipeline.adapters.chdb_store import ChdbStore
from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.adapters.logfile import FileFrame, frames, open_log
from pipeline.enrich import no_country
from pipeline.flow import first_time
from pipeline.ports import RowStore, StoreError, StoreUnavailable
from pipeline.rules import build
from pipeline.rules.config import RulesError
from pipeline.rules.config import load as load_rules
from pipeline.storage.loading import Loader, source_of
from pipeline.storage.storing import Sink, Stored, apply_ddl

FRAME = 1 << 14  # bytes; always the same, so that a file gives the same frames whatever is loaded beside it
ROWS = 200_000  # of one insert
MAX_FIRST_LINE = 1 << 16  # bytes


@dataclass(frozen=True)
class LogFile:
    """A file to be loaded. ``source``: what its rows are called; ``digest``: of its unpacked content."""

    path: Path
    source: str
    digest: str


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
        loader = Loader(rules, ZoneInfo(zone), GeoFile(geoip) if geoip else no_country)
    except (RulesError, GeoFileError) as error:
        raise click.ClickException(str(error)) from None
    except (ZoneInfoNotFoundError, ValueError):
        raise click.BadParameter(f"{zone!r} is no IANA zone such as Asia/Tokyo", param_hint="--zone") from None
    started = time.monotonic()
    try:
        with ChdbStore(folder) as store:
            apply_ddl(store)
            new = _new_files(store, files)
            if new:
                _load(store, loader, new, ZoneInfo(zone))
                _remember(store, loader, new)
    except (OSError, EOFError, zlib.error, StoreUnavailable, StoreError) as error:
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


def _load(store: RowStore, loader: Loader, files: Sequence[LogFile], zone: ZoneInfo) -> None:
    """Reads and judges here while another thread writes what was read before."""
    sinks = [Sink(store), Sink(store)]
    writing: Future[Stored] | None = None
    with _progress(files) as progress, ThreadPoolExecutor(1, "store") as writer:
        task = progress.tasks[0].id
        for source, frame in _in_order(files, zone):
            loader.feed(frame.content, frame.reference, source, sinks[0])
            _show(progress, task, loader, frame)
            if sinks[0].waiting >= ROWS:
                if writing is not None:
                    writing.result()
                writing = writer.submit(sinks[0].flush)
                sinks.reverse()
        if writing is not None:
            writing.result()
        sinks[0].flush()


def _in_order(files: Sequence[LogFile], zone: ZoneInfo) -> Iterator[tuple[str, FileFrame]]:
    """Frames of all files, in the order of their first lines."""

    def timed(number: int, file: LogFile) -> Iterator[tuple[float, int, FileFrame]]:
        for frame in frames(file.path, FRAME):
            at = first_time(frame.content, frame.reference, zone) if len(files) > 1 else 0.0
            yield at, number, frame

    streams = (timed(number, file) for number, file in enumerate(files))
    for _, number, frame in heapq.merge(*streams, key=lambda item: item[:2]):
        yield files[number].source, frame


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


def _show(progress: Progress, task: TaskID, loader: Loader, frame: FileFrame) -> None:
    positions = progress.tasks[0].fields["positions"]
    positions[frame.source] = frame.compressed_position
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
