"""``sekimori load``: log files into a folder that analysts query and notebooks open, without any server."""

import os
import time
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.adapters.prefetch import Prefetch
from pipeline.adapters.stores import loading
from pipeline.adapters.stores.chdb_store import ChdbStore
from pipeline.adapters.stores.loading import FrameRead, Loaded, LogFile, LogReader, identified
from pipeline.adapters.workers import WorkerLost
from pipeline.normalize.enrich import no_country
from pipeline.ports import RowStore, StoreError, StoreUnavailable
from pipeline.replay import LineCounts
from pipeline.rules import build
from pipeline.rules.config import RulesError
from pipeline.rules.config import load as load_rules
from pipeline.storage.storing import apply_ddl


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
        work = LogReader(rules.file.trusted, ZoneInfo(zone), GeoFile(geoip) if geoip else no_country)
    except (RulesError, GeoFileError) as error:
        raise click.ClickException(str(error)) from None
    except (ZoneInfoNotFoundError, ValueError):
        raise click.BadParameter(f"{zone!r} is no IANA zone such as Asia/Tokyo", param_hint="--zone") from None
    started, loaded = time.monotonic(), Loaded()
    try:
        with Prefetch(work) as reader, ChdbStore(folder) as store:
            apply_ddl(store)
            new = _new_files(store, files)
            if new:
                with _progress(new) as progress:
                    loaded = loading.load(store, rules, new, reader, partial(_show, progress, progress.tasks[0].id))
                _remember(store, loaded, new)
    except (OSError, EOFError, zlib.error, StoreUnavailable, StoreError, WorkerLost) as error:
        raise click.ClickException(str(error)) from None
    counts, took = loaded.counts, time.monotonic() - started
    if geoip is None and new:
        click.echo("No --geoip file: every address counts as at home.", err=True)
    click.echo(
        f"{counts.lines:,} lines in {took:.1f} s ({counts.lines / max(took, 1e-9):,.0f} lines/s): "
        f"{counts.events:,} events, {loaded.decisions} decisions, "
        f"{counts.ignored:,} lines of no known format, {counts.unreadable:,} unreadable"
    )


def _new_files(store: RowStore, paths: Sequence[Path]) -> list[LogFile]:
    known = set(store.query("SELECT DISTINCT digest FROM loads")["digest"])
    new: dict[str, LogFile] = {}
    for path in paths:
        file = identified(path)
        alike = next((other.path for other in new.values() if other.source == file.source), None)
        if alike and file.digest not in new:
            raise click.ClickException(f"{alike} and {path} begin alike; give only the longer one")
        if file.digest in known or file.digest in new:
            click.echo(f"{path}: is there already; to load it with other rules or places, use another folder", err=True)
        else:
            new[file.digest] = file
    return list(new.values())


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


def _show(progress: Progress, task: TaskID, loaded: Loaded, read: FrameRead) -> None:
    positions = progress.tasks[0].fields["positions"]
    positions[read.source] = read.position
    progress.update(task, completed=sum(positions.values()), lines=loaded.counts.lines, found=loaded.decisions)


def _remember(store: RowStore, loaded: Loaded, files: Sequence[LogFile]) -> None:
    counts = [loaded.of_source.get(file.source, LineCounts()) for file in files]
    store.insert(
        "loads",
        {
            "digest": [file.digest for file in files],
            "source": [file.source for file in files],
            "name": [file.path.name.encode("utf-8", "backslashreplace").decode() for file in files],
            "time": [int(time.time())] * len(files),
            "lines": [of_file.lines for of_file in counts],
            "events": [of_file.events for of_file in counts],
        },
    )
