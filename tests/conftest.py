"""Fixtures for every test.

* ``broker``: a real broker, one for the whole run of each kind, topics prepared: for tests that do not mind what
  others wrote, and never stop it.
* ``fresh_broker``: as ``broker``, but started for this test alone, with empty topics; it may be killed and restarted.
  The embedded one is there in a fraction of a second, Apache Kafka in a few seconds. Both kinds by default;
  ``@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)`` chooses.

* ``clickhouse``: a real ClickHouse server for the whole run, without tables. ``fresh_clickhouse``: for this test alone.
* ``store``: each engine in turn (``chdb`` in a folder, the server), with our tables, empty.

Both brokers have ``.bootstrap`` (``host:port``), ``.kind``, ``.kill()``, ``.restart()``, ``.stop()``.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline.ports import RowStore
from pipeline.storage.storing import apply_ddl
from tests.support.cluster import BUSY
from tests.support.servers import BROKERS, ClickHouseServer, EmbeddedBroker, start_broker

settings.register_profile("sekimori", deadline=None, print_blob=True)
settings.load_profile("sekimori")

SERVER_FIXTURES = frozenset({"broker", "fresh_broker", "clickhouse", "fresh_clickhouse"})
ENGINES = ("chdb", pytest.param("clickhouse", marks=pytest.mark.servers))
LEFT_BEHIND_SECONDS = 15.0
SHARED: dict[str, EmbeddedBroker | ClickHouseServer] = {}


def pytest_configure() -> None:
    """Started in the background, a shell's children ignore SIGINT, and so would the processes that tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses a server is marked so, and cannot slip into the quick run."""
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def _brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], EmbeddedBroker]]:
    started: dict[str, EmbeddedBroker] = {}
    with ExitStack() as stack:

        def get(kind: str) -> EmbeddedBroker:
            if kind not in started:
                SHARED[kind] = started[kind] = start_broker(kind, tmp_path_factory.mktemp(kind))
                stack.callback(started[kind].stop)
            return started[kind]

        yield get


@pytest.fixture(scope="session", params=list(BROKERS))
def broker(request: pytest.FixtureRequest, _brokers: Callable[[str], EmbeddedBroker]) -> EmbeddedBroker:
    """A broker that all tests share."""
    return _brokers(request.param)


@pytest.fixture(params=list(BROKERS))
def fresh_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker with empty topics, for this test alone."""
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = start_broker(request.param, folder)
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def _clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], ClickHouseServer]]:
    with ExitStack() as stack:

        def get() -> ClickHouseServer:
            server = SHARED.get("clickhouse")
            if not isinstance(server, ClickHouseServer):
                server = SHARED["clickhouse"] = ClickHouseServer(tmp_path_factory.mktemp("clickhouse")).start()
                stack.callback(server.stop)
            return server

        yield get


@pytest.fixture
def clickhouse(_clickhouse: Callable[[], ClickHouseServer]) -> ClickHouseServer:
    """A ClickHouse server without tables."""
    from pipeline.adapters.stores.clickhouse import ClickHouse  # slow to import, as is chdb

    server = _clickhouse()
    with ClickHouse(server.address) as store:
        for name in store.query("SELECT name FROM system.tables WHERE database = currentDatabase()")["name"]:
            store.execute(f"DROP TABLE IF EXISTS `{name}`")
    return server


@pytest.fixture
def fresh_clickhouse(tmp_path: Path) -> Iterator[ClickHouseServer]:
    """A ClickHouse server for this test alone, which may be killed and started again."""
    server = ClickHouseServer(tmp_path / "clickhouse").start()
    yield server
    server.stop()


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RowStore]:
    """An engine with our tables, empty."""
    from pipeline.adapters.stores.chdb_store import ChdbStore
    from pipeline.adapters.stores.clickhouse import ClickHouse

    with ExitStack() as stack:
        if request.param == "chdb":
            opened: RowStore = stack.enter_context(ChdbStore(tmp_path / "chdb"))
        else:
            opened = stack.enter_context(ClickHouse(request.getfixturevalue("clickhouse").address))
        apply_ddl(opened)
        yield opened


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Fails a test that leaves threads or child processes."""
    threads, children = set(threading.enumerate()), set(_children())
    yield
    deadline = time.monotonic() + LEFT_BEHIND_SECONDS
    while True:
        left = [t.name for t in set(threading.enumerate()) - threads if t.is_alive()]
        left += [f"process {pid} {name}" for pid, name in _children().items() if pid not in children | _shared()]
        if not left:
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {', '.join(left)}")
        threading.Event().wait(0.02)


def _shared() -> set[int]:
    """Servers for many tests, and what Python keeps running from the first process on that it started afresh."""
    tracker = getattr(resource_tracker, "_resource_tracker", None)
    return {pid for server in SHARED.values() for pid in server.pids} | {getattr(tracker, "_pid", None) or 0}


def _children() -> dict[int, str]:
    """pid -> name of the direct children of this process (Linux; elsewhere none are seen)."""
    found = {}
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            for pid in map(int, task.read_text().split()):
                found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
    return found


@pytest.fixture
def eventually() -> Callable[..., None]:
    """``eventually(condition, seconds=10, what="")``: fails if it is not true in time."""

    def wait(condition: Callable[[], object], seconds: float = 10.0, what: str = "") -> None:
        deadline = time.monotonic() + seconds * BUSY
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds * BUSY} s: {what or condition}")
            threading.Event().wait(0.01)

    return wait
