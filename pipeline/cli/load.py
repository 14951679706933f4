"""``sekimori load``: log files into a folder that analysts query and notebooks open, without any server."""

import time
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from pipeline.adapters.prefetch import Prefetch
from pipeline.adapters.stores import loading
from pipeline.adapters.stores.chdb_store import ChdbStore
from pipeline.adapters.stores.loading import Loaded, LogFile, LogReader, identified
from pipeline.adapters.workers import WorkerLost
from pipeline.cli.common import (
    FILE,
    clear_errors,
    clock_notes,
    country_lookup,
    doubles_notes,
    flow_options,
    missed_notes,
    note_no_geoip,
    refuse_blank,
    rules_in_force,
    zones_of_hosts,
)
from pipeline.cli.configured import settings_in_force
from pipeline.cli.terminal import lines_progress
from pipeline.detect.brake import brake_notes
from pipeline.ports import RowStore
from pipeline.replay import LineCounts
from pipeline.storage.storing import apply_ddl


@click.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--into", "folder", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder.")
@flow_options
def load(
    files: tuple[Path, ...], folder: Path, rules_path: Path | None, geoip: Path | None, home: str, zone: ZoneInfo
) -> None:
    """Loads logs into a folder for analysis: events, rates per minute, and what the rules would have decided.

    FILES are logs of any known format, plain or packed. A file that is in the folder already is left out, and of
    one that has grown only what is new is added. The notebooks open the folder: set SEKIMORI_ANALYSIS to its path.
    """
    with clear_errors(WorkerLost):
        rules = rules_in_force(rules_path, home)
        work = LogReader(rules.file.trusted, zone, country_lookup(geoip), zones_of_hosts())
        started, loaded, blank = time.monotonic(), Loaded(), []
        with Prefetch(work) as reader, ChdbStore(folder) as store:
            apply_ddl(store)
            new = _new_files(store, files)
            if new:
                with lines_progress("load", sum(file.path.stat().st_size for file in new)) as show:
                    loaded = loading.load(
                        store,
                        rules,
                        new,
                        reader,
                        lambda to, at: show(at.source, at.position, to.counts.lines, to.decisions),
                        settings_in_force().partitions,
                    )
                blank = [file for file in new if loaded.of_source.get(file.source, LineCounts()).is_blank]
                if len(blank) < len(new):
                    _remember(store, loaded, [file for file in new if file not in blank])
    counts, took = loaded.counts, time.monotonic() - started
    if new:
        note_no_geoip(geoip)
    click.echo(
        f"{counts.lines:,} lines in {took:.1f} s ({counts.lines / max(took, 1e-9):,.0f} lines/s): "
        f"{counts.events:,} events, {loaded.decisions} decisions, "
        f"{counts.ignored:,} lines of no known format, {counts.unreadable:,} unreadable"
    )
    notes = clock_notes(counts) + doubles_notes(counts.doubled) + missed_notes(counts)
    for note in notes + brake_notes(loaded.would_hold):
        click.echo(note, err=True)
    refuse_blank([str(file.path) for file in blank])


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
