"""The agent's table, snapshot and health, with clocks of our own and a broker in memory."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from pipeline.adapters.agent.agent import SNAPSHOT, EnforcementAgent
from pipeline.adapters.agent.reader import EnforcementReader
from pipeline.adapters.agent.snapshot import read_snapshot, write_snapshot
from pipeline.adapters.kafka.memory import MemoryLog, MemoryReader
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.settings import Settings
from schemas.codec import encode
from tests.support.decisions import NOW, decision, table

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
