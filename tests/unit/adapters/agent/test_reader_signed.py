"""With keys configured the agent obeys what is signed and nothing else, also after its restart, whatever compaction has
left of it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.agent.reader import EnforcementReader
from pipeline.adapters.agent.snapshot import read_snapshot, write_snapshot
from pipeline.adapters.kafka.memory import MemoryLog, MemoryReader
from pipeline.adapters.kafka.security.keys import Keys
from pipeline.enforce.guard import Guard
from pipeline.enforce.table import DecisionTable
from pipeline.metrics import MemoryRecorder
from pipeline.ports import Headers, Record
from schemas.codec import encode
from schemas.enforcement import HELD, OVER, Decision
from schemas.setting import Setting
from tests.support.decisions import AT, NOW, allow, decision
from tests.support.keys import Keyring

TOPICS = ("enforcement", "settings")
ALICE, ALL = decision("alice@example.org"), decision("0.0.0.0/0", "prefix", action="deny_login", scope="both")
DAN = allow("dan@example.org")


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return Keyring(tmp_path_factory.mktemp("keys") / "ring")


def topic_of(message: Decision | Setting) -> str:
    return "settings" if isinstance(message, Setting) else "enforcement"


def held_by(message: Decision | Setting) -> Headers:
    times = zip(HELD, (message.issued_at, message.expires_at), strict=True)
    return [(name, time.isoformat().encode()) for name, time in times if time is not None]


class Topics:
    """Both topics, and their compaction."""

    def __init__(self, ring: Keyring) -> None:
        self.ring, self.log = ring, MemoryLog(dict.fromkeys(TOPICS, 1))

    def write(self, signer: str, *messages: Decision | Setting) -> None:
        for message in messages:
            self._send(self.ring.record(signer, topic_of(message), message.key, encode(message)))

    def lift(self, signer: str, message: Decision | Setting, headers: Headers = ()) -> None:
        told = [*held_by(message), *headers]
        self._send(self.ring.record(signer, topic_of(message), message.key, None, told))

    def _send(self, record: Record) -> None:
        self.log.send(record.topic, record.key, record.value, record.headers)
        self.log.flush()

    def guard(self) -> None:
        """What whoever sweeps writes again."""
        keys = self.ring.keys()
        guard = Guard(lambda record: keys.refusal(record) is None)
        for record in self.log.read("enforcement", 0, 0):
            guard.take(record, NOW)
        for record in guard.again(0):
            self._send(record)

    def compact(self) -> None:
        for (log,) in self.log.partitions.values():
            last = {record.key: record for record in log}
            log[:] = [record for record in log if last[record.key] is record]
            log[:] = [Record(r.topic, 0, n, r.timestamp_ms, r.key, r.value, r.headers) for n, r in enumerate(log)]


class Agent:
    """A table that is kept by a reader; ``restart`` is with the snapshot."""

    def __init__(self, topics: Topics, keys: Keys, folder: Path) -> None:
        self.table, self.recorder = DecisionTable(), MemoryRecorder()
        self._topics, self._keys, self._path = topics, keys, folder / "snapshot"

    async def start(self) -> None:
        log = self._topics.log
        self._reader = EnforcementReader(
            self.table, lambda: NOW, self.recorder, lambda: MemoryReader(log, TOPICS), self._keys
        )
        self._reader.start()
        await until(lambda: self._reader.state.ready)

    async def restart(self, keys: Keys | None = None) -> None:
        await self._reader.stop()
        write_snapshot(self._path, self.table.decisions(), self.table.allowlist(), NOW)
        self.table, self._keys = read_snapshot(self._path, NOW)[0], keys or self._keys
        await self.start()

    async def stop(self) -> None:
        await self._reader.stop()

    def heard(self) -> int:
        return sum(name == "sekimori_enforce_messages_total" for name, _, _ in self.recorder.made)

    def refused(self) -> float:
        return sum(v for name, _, v in self.recorder.made if name == "sekimori_signature_refusals_total")

    @property
    def state(self) -> tuple[set[str], set[str]]:
        return {r.subject for r in self.table.decisions() if r.live}, {s.subject for s in self.table.allowlist()}


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def run(topics: Topics, folder: Path, test: Callable[[Agent], Awaitable[None]]) -> None:
    async def main() -> None:
        agent = Agent(topics, topics.ring.keys(), folder)
        await agent.start()
        try:
            async with asyncio.timeout(20):
                await test(agent)
        finally:
            await agent.stop()

    uvloop.run(main())


def test_nothing_unsigned_blocks_or_lifts_anybody_also_after_a_restart(ring: Keyring, tmp_path: Path) -> None:
    topics = Topics(ring)
    topics.write("detect-1", ALICE)
    topics.write("operator-1", DAN)

    async def test(agent: Agent) -> None:
        await until(lambda: agent.state == ({ALICE.subject}, {DAN.subject}))
        for signer in ("", "stranger"):
            topics.write(signer, ALL, allow("eve@example.org"))
            topics.lift(signer, ALICE)
            topics.lift(signer, DAN)
        topics.write("detect-1", allow("eve@example.org"))  # rules allow nobody
        topics.lift("detect-1", ALICE)
        await until(lambda: agent.refused() == 10)
        for _ in range(2):
            assert agent.state == ({ALICE.subject}, {DAN.subject})
            topics.compact()
            await agent.restart()
        topics.lift("operator-1", ALICE)
        topics.lift("operator-1", DAN)
        await until(lambda: agent.state == (set(), set()))
        topics.compact()
        await agent.restart()
        assert agent.state == (set(), set())

    run(topics, tmp_path, test)


def test_what_was_signed_before_does_not_come_back_by_being_written_again(ring: Keyring, tmp_path: Path) -> None:
    topics = Topics(ring)
    renewed = decision("alice@example.org", issued_at=AT + timedelta(minutes=9))
    topics.write("detect-1", ALICE)

    async def test(agent: Agent) -> None:
        def issued() -> float | None:
            found = agent.table.find(ALICE.key)
            return found.issued_at if found else None

        topics.lift("operator-1", ALICE)
        await until(lambda: issued() is None)
        seen = agent.heard()
        topics.write("detect-1", ALICE)
        await until(lambda: agent.heard() > seen)
        assert issued() is None
        topics.write("detect-1", renewed)
        await until(lambda: issued() == NOW + 540)
        topics.lift("operator-1", ALICE)
        topics.write("detect-1", ALICE)
        topics.lift("operator-1", ALICE, [(OVER, b"1")])
        for _ in range(2):
            topics.compact()
            await agent.restart()
            assert issued() == NOW + 540

    run(topics, tmp_path, test)


def test_a_new_key_is_obeyed_and_one_that_is_no_longer_trusted_is_not(ring: Keyring, tmp_path: Path) -> None:
    topics = Topics(ring)
    topics.write("operator-2", ALL)

    async def test(agent: Agent) -> None:
        assert agent.state == (set(), set())
        await agent.restart(ring.keys(trusted=("operator-1", "operator-2")))
        assert agent.state == ({ALL.subject}, set())
        await agent.restart(ring.keys(trusted=("operator-2",)))
        topics.write("operator-1", ALICE)
        await until(lambda: agent.refused() == 2)
        assert agent.state == ({ALL.subject}, set())

    run(topics, tmp_path, test)


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["detect-1", "operator-1", "", "stranger"]),
            st.sampled_from(["write", "lift"]),
            st.integers(0, 1),
            st.integers(0, 3),
        ),
        st.sampled_from(["compact", "restart"]).map(lambda what: ("", what, 0, 0)),
    ),
    max_size=10,
)


@settings(max_examples=20)
@given(STEPS)
def test_whoever_writes_what_the_agent_has_what_was_signed_last(
    ring: Keyring, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int, int]]
) -> None:
    """Compaction comes after whoever guards the topic: what nobody ever saw would be gone."""
    topics = Topics(ring)
    best: dict[int, tuple[int, bool]] = {}

    async def test(agent: Agent) -> None:
        for signer, what, n, minutes in steps:
            message = decision(f"user{n}@example.org", issued_at=AT + timedelta(minutes=minutes))
            if what == "compact":
                topics.guard()
                topics.compact()
            if what in {"compact", "restart"}:
                await agent.restart()
                continue
            before = agent.heard()
            (topics.write if what == "write" else topics.lift)(signer, message)
            await until(lambda before=before: agent.heard() > before)
            if signer == "operator-1" or (signer == "detect-1" and what == "write"):
                best[n] = max(best.get(n, (-1, False)), (minutes, what == "lift"))
        wanted = {f"user{n}@example.org": NOW + 60 * minutes for n, (minutes, lifts) in best.items() if not lifts}
        assert {r.subject: r.issued_at for r in agent.table.decisions() if r.live} == wanted

    run(topics, tmp_path_factory.mktemp("agent"), test)
