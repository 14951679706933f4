"""Fixtures for every test.

* ``broker``: a real broker, one for the whole run of each kind, topics prepared: for tests that do not mind what
  others wrote, and never stop it.
* ``fresh_broker``: as ``broker``, but started for this test alone, with empty topics; it may be killed and restarted.
  The embedded one is there in a fraction of a second, Apache Kafka in a few seconds. Both kinds by default;
  ``@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)`` chooses.

Both have ``.bootstrap`` (``host:port``), ``.kind``, ``.kill()``, ``.restart()``, ``.stop()``.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers import BROKERS, EmbeddedBroker, start_broker

settings.register_profile("sekimori", deadline=None, print_blob=True)
settings.load_profile("sekimori")

SERVER_FIXTURES = frozenset({"broker", "fresh_broker"})
LEFT_BEHIND_SECONDS = 5.0
SHARED: dict[str, EmbeddedBroker] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses a server is marked so, and cannot slip into the quick run."""
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def _brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], EmbeddedBroker]]:
    with ExitStack() as stack:

        def get(kind: str) -> EmbeddedBroker:
            if kind not in SHARED:
                SHARED[kind] = start_broker(kind, tmp_path_factory.mktemp(kind))
                stack.callback(SHARED[kind].stop)
            return SHARED[kind]

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
    return {pid for broker in SHARED.values() for pid in broker.pids}


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
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {seconds} s: {what or condition}")
            threading.Event().wait(0.01)

    return wait
