"""The agent's table, snapshot and health, with clocks of our own and a broker in memory."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from structlog.testing import capture_logs

from pipeline.adapters.agent.agent import SNAPSHOT, EnforcementAgent
from pipeline.adapters.agent.reader import EnforcementReader
from pipeline.adapters.agent.snapshot import read_snapshot, write_snapshot
from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.kafka.memory import MemoryLog, MemoryReader
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.metrics import MemoryRecorder
from pipeline.settings import Settings
from schemas.codec import encode
from tests.support.decisions import NOW, decision, table
from tests.support.paths import RECORDED

DAY = 86_400
TOPICS = ("enforcement", "settings")


class Clocks:
    def __init__(self) -> None:
        self.wall, self.steady = NOW, 5.0

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def run(
    folder: Path, test: Callable[[EnforcementAgent, Clocks], Awaitable[None]], log: MemoryLog | None = None
) -> None:
    async def main() -> None:
        clocks, recorder = Clocks(), PrometheusRecorder()
        settings = Settings(state_dir=folder)
        agent = EnforcementAgent(
            settings, lambda: clocks.wall, recorder, steady=lambda: clocks.steady, snapshot_seconds=0
        )
        broker = log or MemoryLog({})
        agent.reader = EnforcementReader(
            agent.table, lambda: clocks.wall, recorder, lambda: MemoryReader(broker, TOPICS)
        )
        await agent.start()
        try:
            async with asyncio.timeout(20):
                await test(agent, clocks)
        finally:
            await agent.stop()

    uvloop.run(main())


def held(agent: EnforcementAgent, clocks: Clocks) -> list[str]:
    names = [f"user{n}@example.org" for n in range(5)]
    return [name for name in names if agent.table.lookup("send", clocks.wall, account=name)]


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_a_clock_that_is_a_day_ahead_for_a_moment_hides_and_deletes_nothing(tmp_path: Path) -> None:
    log = MemoryLog(dict.fromkeys(TOPICS, 1))
    for n in range(5):
        made = decision(f"user{n}@example.org", seconds=3600 * (n + 1))
        log.send("enforcement", made.key.encode(), encode(made))
    log.flush()

    async def test(agent: EnforcementAgent, clocks: Clocks) -> None:
        await until(lambda: len(agent.table) == 5)
        agent.tick()
        clocks.wall += DAY
        for _ in range(3):
            clocks.go(0.5)
            assert held(agent, clocks) == []
            agent.tick()
        await agent._save()
        clocks.wall -= DAY
        clocks.go(0.5)
        agent.tick()
        assert len(held(agent, clocks)) == 5
        assert len(read_snapshot(tmp_path / SNAPSHOT, clocks.wall)[0]) == 5
        clocks.go(3600)
        agent.tick()  # by a sane clock it is forgotten
        assert (len(agent.table), len(held(agent, clocks))) == (4, 4)

    run(tmp_path, test, log)
    assert len(read_snapshot(tmp_path / SNAPSHOT, NOW)[0]) == 4


def test_a_start_with_a_wrong_clock_deletes_nothing(tmp_path: Path) -> None:
    known = table(*(decision(f"user{n}@example.org", seconds=3600) for n in range(5)))
    write_snapshot(tmp_path / SNAPSHOT, known.decisions(), [], NOW - 60)

    async def test(agent: EnforcementAgent, clocks: Clocks) -> None:
        await until(lambda: len(agent.table) == 5)
        clocks.wall += DAY
        for _ in range(3):
            clocks.go(1)
            agent.tick()
        assert held(agent, clocks) == []
        clocks.wall -= DAY
        clocks.go(1)
        agent.tick()
        assert len(held(agent, clocks)) == 5

    run(tmp_path, test)


def test_health_tells_whether_it_knows_anything(tmp_path: Path) -> None:
    async def empty(agent: EnforcementAgent, clocks: Clocks) -> None:
        assert agent.health() | {"ok": False, "ready": False, "decisions": 0} == agent.health()

    async def known(agent: EnforcementAgent, clocks: Clocks) -> None:
        assert agent.health() | {"ok": True, "ready": False, "decisions": 1} == agent.health()

    run(tmp_path, empty)
    write_snapshot(tmp_path / SNAPSHOT, table(decision("user1@example.org")).decisions(), [], NOW)
    run(tmp_path, known)


def test_it_answers_while_it_loads(tmp_path: Path) -> None:
    """No step of loading holds up the event loop for long."""
    many = table(*(decision(f"user{n}@example.org") for n in range(20_000)))
    write_snapshot(tmp_path / SNAPSHOT, many.decisions(), [], NOW)
    steps: list[float] = []

    async def watch() -> None:
        while True:
            started = time.thread_time()
            await asyncio.sleep(0)
            steps.append(time.thread_time() - started)

    async def main() -> None:
        agent = EnforcementAgent(Settings(state_dir=tmp_path), lambda: NOW, PrometheusRecorder())
        watching = asyncio.create_task(watch())
        loading = asyncio.create_task(agent._load())
        await loading
        watching.cancel()
        assert len(agent.table) == 20_000

    uvloop.run(main())
    assert len(steps) >= 20_000 / 500
    assert sorted(steps)[-3] < 0.02


@pytest.mark.parametrize("knows", [False, True])
def test_a_country_that_nobody_can_be_known_to_be_from_is_told(tmp_path: Path, knows: bool) -> None:
    recorder = MemoryRecorder()
    geo = GeoFile(RECORDED / "geo.mmdb") if knows else None
    agent = EnforcementAgent(Settings(state_dir=tmp_path), lambda: NOW, recorder, geo=geo)
    with capture_logs() as logs:
        agent.tick()
        for made in (decision("BR", "country"), decision("CN", "country"), decision("alice@example.org")):
            agent.table.apply(made.key, made)
        agent.tick()
        agent.tick()
        agent.table.apply(decision("BR", "country").key, None)
        agent.tick()
    told = [log["decisions"] for log in logs if log["event"] == "countries_not_obeyed"]
    assert told == ([] if knows else [2])
    assert recorder.values("sekimori_enforce_unobeyed_countries") == ([0] * 4 if knows else [0, 2, 2, 1])
    assert agent.health()["unobeyed_countries"] == (0 if knows else 1)
