"""The analytical store: events a second into chdb and into a ClickHouse server, and how long each query takes on them.

``python -m bench.store LOG [EVENTS]``: LOG is what ``bench/gen_maillog.py`` wrote; its events are written again and
again, each time a day later, until there are EVENTS (10 million if not given). The server is started here, on
loopback, if there is a ``clickhouse-server``.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from pipeline.adapters.files.logfile import named_frames
from pipeline.adapters.stores.chdb_store import ChdbStore
from pipeline.adapters.stores.clickhouse import ClickHouse
from pipeline.analysis import QUERIES
from pipeline.analysis.query import covered
from pipeline.networks import CountryOf
from pipeline.ports import RowStore
from pipeline.replay import Replay
from pipeline.rules import build
from pipeline.rules.config import load
from pipeline.storage.rows import Columns, event_columns
from pipeline.storage.storing import EventFrame, Sink, apply_ddl
from schemas.times import DAY

BATCH = 200_000  # rows of one insert


def homes_abroad(address: str) -> str:
    """Of the generator's addresses: 100.64.0.0/10 and 2001:db8:f::/48 are not at home."""
    return "US" if address.startswith(("100.", "2001:db8:f:")) else "JP"


def fill(store: RowStore, log: Path, events: int, lookup: CountryOf = homes_abroad) -> float:
    """Writes so many events, as the store job does; the rate, events a second."""
    apply_ddl(store)
    sink = Sink(store)
    flow = Replay(build(load(None), "JP"), lookup=lookup)
    found: list[EventFrame] = []
    for frame, decisions in flow.run(named_frames([log])):
        found.append(EventFrame(frame.source, frame.number, frame.batch.events))
        for decision in decisions:
            sink.add(decision)
    sink.flush()
    batches = list(_batches(found))
    written, started = 0, time.monotonic()
    writing: Future[None] | None = None
    with ThreadPoolExecutor(1) as writer:
        while written < events:
            for batch in batches:
                columns = _later(event_columns((f"log{written}", f.offset, f.events) for f in batch), written)
                packed = store.pack("events", columns)
                if writing is not None:
                    writing.result()
                writing = writer.submit(store.insert, "events", packed)
            written += sum(len(f.events) for batch in batches for f in batch)
        if writing is not None:
            writing.result()
    return written / (time.monotonic() - started)


def _batches(found: list[EventFrame]) -> Iterator[list[EventFrame]]:
    batch: list[EventFrame] = []
    for frame in found:
        batch.append(frame)
        if sum(len(f.events) for f in batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _later(columns: Columns, written: int) -> Columns:
    """Each copy of the log on a day of its own."""
    shift = (written // 100_000) * DAY // 4
    columns["time"] = [seconds + shift for seconds in columns["time"]]
    return columns


def queries(store: RowStore) -> dict[str, float]:
    """Seconds that each query takes, over everything."""
    period = covered(store, "Asia/Tokyo")
    took = {}
    for query in QUERIES:
        arguments = {}
        if query.name == "timeline":
            arguments = {"account": store.query("SELECT min(subject) AS a FROM decisions")["a"][0]}
        started = time.monotonic()
        query.function(store, period, **arguments)
        took[query.name] = time.monotonic() - started
    return took


def run(log: Path, events: int = 10_000_000) -> dict[str, float]:
    """Everything, by name: events a second, and seconds of each query."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        engines: dict[str, Callable[[], RowStore]] = {"chdb": lambda: ChdbStore(Path(folder) / "chdb")}
        if shutil.which("clickhouse-server", path="/usr/sbin:/usr/bin:/usr/local/bin"):
            from tests.support.servers import ClickHouseServer  # noqa: PLC0415

            server = stack.enter_context(ClickHouseServer(Path(folder) / "server"))
            engines["server"] = lambda: ClickHouse(server.address)
        for engine, opened in engines.items():
            store = opened()
            try:
                found[f"{engine}: events/s"] = fill(store, log, events)
                found |= {f"{engine}: {name}, s": took for name, took in queries(store).items()}
            finally:
                store.close()
    return found


def main() -> None:
    for what, value in run(Path(sys.argv[1]), int((sys.argv[2:] or ["10000000"])[0])).items():
        print(f"{what:<50} {value:>12,.2f}", flush=True)


if __name__ == "__main__":
    main()
