"""Owners of a partition that follow one another, are frozen, come back late, and are cut off: none spoils a state."""

import asyncio
import random
from collections.abc import Iterable, Iterator

import msgspec
import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.kafka.memory import MemoryLog, fold
from pipeline.adapters.streams.ending import Ending
from pipeline.adapters.streams.partitions.held import Held
from pipeline.adapters.streams.partitions.states import StateTopic
from pipeline.metrics import MemoryRecorder
from pipeline.partition import Outgoing, StatePart, StateUnreadable
from pipeline.ports import Record
from schemas.topics import DETECT_STATE

SHARDS, RECORDS, PIECE = 4, 60, 24
RECORD = Record("tallies", 0, -1, 0, b"k", b"v")


class Tape:
    """A stage like the detector's: a shard for each remainder notes its offsets, and is saved when it changed."""

    without_state = "it is made anew"

    def __init__(self) -> None:
        self.life, self.position = 0, -1
        self.shards: list[tuple[int, list[int]]] = [(-1, []) for _ in range(SHARDS)]
        self.dirty = [False] * SHARDS

    def process(self, record: Record) -> list[Outgoing]:
        self.position = record.offset
        number = record.offset % SHARDS
        position, noted = self.shards[number]
        if record.offset > position:
            self.shards[number] = position, [*noted, record.offset]
            self.dirty[number] = True
        return [Outgoing("events", b"%d" % record.offset)]

    def restart(self, position: int) -> None:
        raise NotImplementedError

    def renew(self) -> None:
        self.dirty = [True] * SHARDS

    def refresh(self) -> None:
        raise NotImplementedError

    def save(self) -> Iterator[StatePart]:
        position = self.position
        for number in range(SHARDS):
            if self.dirty[number]:
                self.dirty[number] = False
                position_of, noted = self.shards[number]
                self.shards[number] = max(position_of, self.position), noted
                yield StatePart(b"0/%d" % number, msgspec.msgpack.encode(self.shards[number]))
        yield StatePart(b"0/position", b"%d" % position, after=True)

    def load(self, saved: Iterable[StatePart]) -> None:
        for key, value, *_ in saved:
            if key == b"0/position":
                self.position = int(value)
            else:
                self.shards[int(key[2:])] = msgspec.msgpack.decode(value, type=tuple[int, list[int]])

    def check(self) -> None:
        """Everything up to the position is there, nothing twice, and nothing that its shard does not answer for."""
        for number, (position, noted) in enumerate(self.shards):
            assert noted == list(range(number, max(noted, default=-1) + 1, SHARDS))
            assert all(offset in noted for offset in range(number, self.position + 1, SHARDS))
            assert position >= self.position or not any(offset > position for offset in noted)


class World:
    """A broker, and the owners, which go on only when they are given a turn."""

    def __init__(self, chance: random.Random, piece: int) -> None:
        self.chance = chance
        self.log = MemoryLog({DETECT_STATE.name: 1, "events": 1})
        self.states = StateTopic(self.log, DETECT_STATE, piece)
        self.opened: list[int] = []

    def compact(self) -> None:
        records = self.log.partitions[DETECT_STATE.name][0]
        table: dict[bytes, bytes] = {}
        for record in records:
            fold(table, record)
        last = {record.key: record for record in records}
        records[:] = [record for record in last.values() if record.key in table]


class Owner:
    """A worker that has the partition. ``turns``: of what it waits for, while it can go on."""

    def __init__(self, world: World) -> None:
        self.world, self.turns = world, asyncio.Semaphore(0)
        self.task = asyncio.ensure_future(self.live())

    async def step(self) -> None:
        self.turns.release()
        for _ in range(4):
            await asyncio.sleep(0)

    async def send(self, out: Outgoing) -> asyncio.Future[None]:
        await self.turns.acquire()
        self.world.log.send(out.topic, out.key, out.value, out.headers, partition=0)
        self.world.log.flush()
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent

    async def live(self) -> None:
        chance = self.world.chance
        await self.turns.acquire()
        saved = self.world.states.read(0)
        opened = self.world.states.open(Tape, "tallies", 0, saved)
        opened.stage.check()
        self.world.opened.append(opened.stage.position)
        held = Held(TP("tallies", 0), opened, "", self.send, MemoryRecorder(), Ending())
        while held.stage.position < RECORDS - 1:
            what = chance.random()
            if what < 0.3:
                await held.save(chance.choice((-1.0, 60.0)))
            elif what < 0.32:
                held.renew()
            else:
                await self.turns.acquire()
                await held.process(RECORD.__class__("tallies", 0, held.stage.position + 1, 0, b"k", b"v"))
        await held.save_whole()


async def play(seed: int, piece: int) -> World:
    world = World(random.Random(seed), piece)
    chance, owners = world.chance, [Owner(world)]
    for _ in range(chance.randrange(50, 900)):
        what = chance.random()
        if what < 0.02:
            owners.append(Owner(world))  # the others are frozen, and may come back
        elif what < 0.03:
            owners.pop(chance.randrange(len(owners))).task.cancel()
            owners = owners or [Owner(world)]
        elif what < 0.05:
            world.compact()
        else:
            owner = owners[-1] if chance.random() < 0.7 else chance.choice(owners)
            await owner.step()
        for owner in owners:
            if owner.task.done():
                owner.task.result()
    last = Owner(world)
    while not last.task.done():
        await last.step()
    last.task.result()
    for owner in owners:
        owner.task.cancel()
    await asyncio.gather(*(owner.task for owner in owners), return_exceptions=True)
    return world


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), piece=st.sampled_from((PIECE, 1 << 20)))
def test_whoever_writes_late_the_next_owner_finds_what_an_undisturbed_one_holds(seed: int, piece: int) -> None:
    world = asyncio.run(play(seed, piece))
    found = world.states.open(Tape, "tallies", 0, world.states.read(0)).stage
    found.check()
    assert found.position == RECORDS - 1
    sent = {record.value for record in world.log.partitions["events"][0]}
    assert sent == {b"%d" % offset for offset in range(RECORDS)}


def test_owners_do_go_on_from_one_another() -> None:
    """Else the test above would show nothing."""
    opened = [position for seed in range(10) for position in asyncio.run(play(seed, PIECE)).opened]
    assert sum(position > 0 for position in opened) > len(opened) / 2


def test_former_states_go_when_the_new_one_is_whole() -> None:
    async def main() -> MemoryLog:
        world = World(random.Random(1), 1 << 20)
        for number in range(SHARDS):
            value = msgspec.msgpack.encode((7, list(range(number, 8, SHARDS))))
            world.log.send(DETECT_STATE.name, b"0/%d" % number, value, partition=0)
        world.log.send(DETECT_STATE.name, b"0/position", b"7", partition=0)
        world.log.send(DETECT_STATE.name, b"tallies-0.other/0/1", b"begun, and never sealed", partition=0)
        world.log.flush()
        owner = Owner(world)
        while not owner.task.done():
            await owner.step()
        owner.task.result()
        assert world.opened == [7]
        return world.log

    log = asyncio.run(main())
    (name,) = {key.partition(b"/")[0] for key in log.state(DETECT_STATE.name)}
    assert name.startswith(b"tallies-0.")
    assert name != b"tallies-0.other"


def test_seals_without_their_parts_are_told() -> None:
    async def main() -> World:
        world = World(random.Random(1), 1 << 20)
        owner = Owner(world)
        while not owner.task.done():
            await owner.step()
        return world

    world = asyncio.run(main())
    saved = [record for record in world.states.read(0) if not (record.key or b"").endswith(b"/0/2")]
    with pytest.raises(StateUnreadable, match=r"parts of it are missing\. Start the version"):
        world.states.open(Tape, "tallies", 0, saved)
