"""Opens the data that notebooks look at, and makes the sample."""

import atexit
import gzip
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from importlib import resources
from pathlib import Path

from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.stores.chdb_store import ChdbStore
from pipeline.adapters.stores.clickhouse import ClickHouse
from pipeline.analysis.query import FOUND, Period, covered
from pipeline.analysis.sample import CHANGE, DAYS, ZONE, Copy, routes, sample_frames
from pipeline.ports import RowStore
from pipeline.replay import LogFrame, Replay
from pipeline.rules import build
from pipeline.rules.config import load
from pipeline.settings import Settings, SettingsError
from pipeline.storage.rows import Release
from pipeline.storage.storing import EventFrame, Sink, apply_ddl

ROWS = 100_000  # of one insert


@contextmanager
def opened(settings: Settings | None = None) -> Iterator[tuple[RowStore, Period]]:
    """The store to be analysed, and the period that it covers.

    ``SEKIMORI_ANALYSIS``: a folder made by ``sekimori load``; else ``SEKIMORI_CLICKHOUSE``; else the bundled sample, in
    a folder that goes away at the end. Raises SettingsError, StoreUnavailable, StoreError, LookupError (empty).
    """
    settings = settings or Settings.from_env(os.environ)
    if settings.analysis is not None:
        if not settings.analysis.is_dir():
            raise SettingsError(f"SEKIMORI_ANALYSIS: there is no folder {settings.analysis}; make it: sekimori load")
        with ChdbStore(settings.analysis) as folder:
            apply_ddl(folder)  # an earlier version may have made it
            yield folder, covered(folder, settings.zone)
    elif settings.clickhouse:
        with ClickHouse.of(settings) as server:
            yield server, covered(server, settings.zone)
    else:
        with tempfile.TemporaryDirectory(prefix="sekimori-sample-") as name, ChdbStore(Path(name)) as sample:
            fill_with_sample(sample)
            yield sample, covered(sample, ZONE.key)


def opened_until_exit() -> tuple[RowStore, Period]:
    """As ``opened``, closed when the interpreter ends: for notebooks."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(opened())


def fill_with_sample(store: RowStore, days: int = DAYS) -> None:
    """Makes the tables and puts the bundled sample into them, through the flow. ``days``: of it."""
    apply_ddl(store)
    with resources.as_file(resources.files("pipeline.adapters.demo") / "recorded") as recorded:
        lookup = GeoFile(recorded / "geo.mmdb")
        logs = [gzip.decompress((recorded / f"{name}.log.gz").read_bytes()) for name in ("mail", "dovecot", "pools")]
    with resources.as_file(resources.files("pipeline.analysis") / "stricter.toml") as path:
        stricter = build(load(path), "JP")
    flow, sink = Replay(build(load(None), "JP"), lookup=lookup), Sink(store)
    changed, routed = False, set[Copy]()
    for copy, lines, reference in sample_frames(logs[0], logs[1], logs[2], days):
        if not changed and copy.start.astimezone(ZONE).date() >= CHANGE:
            changed = True
            flow.use(stricter)
        if copy.routed and copy not in routed:
            routed.add(copy)
            for decision in routes(copy):
                sink.add(decision)
        frame, decisions = flow.feed(LogFrame("sample", lines, reference))
        sink.add(EventFrame(frame.source, frame.number, frame.batch.events))
        sink.add_all(frame.batch.dead_letters)
        sink.add_all(decisions)
        if sink.waiting >= ROWS:
            sink.flush()
    sink.flush()
    _release(store, sink)


def _release(store: RowStore, sink: Sink) -> None:
    """An operator lifts every restriction of an account five hours later."""
    found = store.query(
        f"SELECT subject, rule, min(issued_at) AS at FROM decisions WHERE {FOUND} GROUP BY subject, rule"
    )
    for number, row in enumerate(found.itertuples()):
        at = row.at.to_pydatetime() + timedelta(hours=5)
        sink.add(Release(at, "account", row.rule, row.subject, "operator:hana", "password changed", number))
    sink.flush()
