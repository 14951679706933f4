"""Stages killed between any two messages and started again: what comes of them equals an undisturbed run."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from zlib import decompress

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.shard import SHARDS
from pipeline.partition import Outgoing, PartitionStage, StatePart
from pipeline.ports import Record
from pipeline.windows.layout import ERROR, SEEN, SEND, entries
from schemas.codec import decode_decision
from schemas.topics import DETECT_STATE, ENFORCEMENT, NORMALIZE_STATE, TALLIES
from tests.support.paths import RECORDED
from tests.support.stages import REFERENCE_MS, detect_stage, frames, mixed_lines, normalize_stage

PARTITIONS = 3
Where = tuple[str, int]


@dataclass
class World:
    """A broker, as far as stages can see it. ``accusations`` wait until everything else is counted, so that their
    place among the other tallies is the same in every run."""

    topics: defaultdict[Where, list[Record]] = field(default_factory=lambda: defaultdict(list))
    states: defaultdict[Where, dict[bytes, StatePart]] = field(default_factory=lambda: defaultdict(dict))
    committed: Counter[Where] = field(default_factory=Counter)
    accusations: list[Outgoing] = field(default_factory=list)
    decisions: dict[bytes, bytes] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def write(self, out: Outgoing) -> None:
        if out.topic == ENFORCEMENT.name:
            self.decisions[out.key or b""] = out.value
            self.ids.add(decode_decision(out.value).id)
        elif out.topic == TALLIES.name and not out.headers:
            self.accusations.append(out)
        else:
            self.append((out.topic, out.partition or 0), out.value, out.headers)

    def append(self, where: Where, value: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        log = self.topics[where]
        log.append(Record(*where, len(log), REFERENCE_MS, b"mx", value, headers))


class Killed(Exception):
    pass


@dataclass
class Worker:
    """Works on one partition as the streaming job does: states are saved in checkpoints, between records, and when a
    checkpoint is complete, what came before it is committed, sooner or later."""

    world: World
    where: Where
    state: Where
    make: Callable[[], PartitionStage]
    chance: random.Random
    danger: float = 0.0  # of being killed before any message
    saving: float = 0.6

    def run(self) -> None:
        while True:
            try:
                return self._live()
            except Killed:
                continue

    def steps(self) -> Iterator[None]:
        """As ``run``, a step at a time."""
        while True:
            try:
                yield from self._steps()
                return
            except Killed:
                continue

    def _live(self) -> None:
        for _ in self._steps():
            pass

    def _steps(self) -> Iterator[None]:
        stage = self.make()
        stage.load(self.world.states[self.state].values())
        stage.renew()  # a new owner's first checkpoint is whole
        at, commit, saving, start = self.world.committed[self.where], 0, iter(()), -1
        log = self.world.topics[self.where]
        while at < len(log):
            record, at = log[at], at + 1
            if record.offset > stage.position:
                for out in stage.process(record):
                    self._send(partial(self.world.write, out))
            yield
            if self.chance.random() > self.saving:
                continue
            for _ in range(self.chance.choice((1, 5, SHARDS, SHARDS + 2))):
                part = next(saving, None)
                if part is None:
                    commit = start + 1
                    saving, start = stage.save(), stage.position
                else:
                    self._save(part)
            if self.chance.random() < 0.5:
                self.world.committed[self.where] = max(self.world.committed[self.where], commit)
        for part in stage.save():  # as at SIGTERM
            self._save(part)
        self.world.committed[self.where] = at

    def _save(self, part: StatePart) -> None:
        self._send(lambda: self.world.states[self.state].update({part.key: part}))

    def _send(self, act: Callable[[], None]) -> None:
        if self.chance.random() < self.danger:
            raise Killed
        act()


def normalizer(world: World, topic: str, chance: random.Random, danger: float) -> Worker:
    source = f"{topic}-0"
    return Worker(
        world, (topic, 0), (NORMALIZE_STATE.name, 0), lambda: normalize_stage(source, PARTITIONS), chance, danger
    )


def detector(world: World, partition: int, chance: random.Random, danger: float) -> Worker:
    where = (TALLIES.name, partition)
    return Worker(
        world, where, (DETECT_STATE.name, partition), lambda: detect_stage(partition, PARTITIONS), chance, danger
    )


def in_order(seed: int, danger: float, size: int) -> World:
    """Normalises everything, then detects everything, then what was accused."""
    world, chance = World(), random.Random(seed)
    for frame in frames(mixed_lines(), size):
        world.append(("maillog", 0), frame)
    normalizer(world, "maillog", chance, danger).run()
    for _ in range(2):
        for partition in range(PARTITIONS):
            detector(world, partition, chance, danger / 3).run()
        for out in world.accusations:
            world.append((TALLIES.name, out.partition or 0), out.value)
        world.accusations.clear()
    return world


@cache
def undisturbed(size: int) -> World:
    return in_order(0, 0.0, size)


@settings(max_examples=6)
@given(seed=st.integers(0, 2**32), danger=st.sampled_from((0.01, 0.05)), size=st.sampled_from((150, 1000)))
def test_decisions_equal_those_of_an_undisturbed_run_whenever_workers_are_killed(
    seed: int, danger: float, size: int
) -> None:
    world, wanted = in_order(seed, danger, size), undisturbed(size)
    assert len(wanted.decisions) > 50
    assert world.decisions == wanted.decisions
    assert world.ids == wanted.ids


def counted(world: World) -> dict[tuple[str, str, bytes, int, bytes], list[int]]:
    """Everything that the saved windows hold: (kind, subject, what, slot, peer) -> sums."""
    total: dict[tuple[str, str, bytes, int, bytes], list[int]] = {}
    for partition in range(PARTITIONS):
        for key, part in world.states[DETECT_STATE.name, partition].items():
            if key.rpartition(b"/")[2].isdigit():
                _, states, *_ = msgspec.msgpack.decode(decompress(part.value))
                for kind, of in states.items():
                    for subject, state in of.items():
                        for slot, what, _, peer, *counters in entries(state):
                            have = total.setdefault((kind, subject, what, slot, peer), [0, 0, 0, 0])
                            if what in (SEND, ERROR):
                                have[:] = [a + b for a, b in zip(have, counters, strict=True)]
                            elif what == SEEN:
                                have[:] = counters
    return total


def side_by_side(seed: int, danger: float, size: int) -> World:
    """Both sources and all detectors at once, in any order. Accusations, whose time depends on it, are left out."""
    world, chance = World(), random.Random(seed)
    for topic, name in (("maillog", "mail.log"), ("authlog", "dovecot.log")):
        for frame in frames(tuple((RECORDED / name).read_bytes().splitlines()[:2500]), size):
            world.append((topic, 0), frame)
    workers = [normalizer(world, topic, chance, danger) for topic in ("maillog", "authlog")]
    readers = [detector(world, partition, chance, danger / 3) for partition in range(PARTITIONS)]
    going = {n: worker.steps() for n, worker in enumerate(workers)}
    while going:
        number = chance.choice(list(going))
        if next(going[number], True):
            del going[number]
        if chance.random() < 0.1:
            chance.choice(readers).run()
    for reader in readers:
        reader.run()
    return world


@settings(max_examples=5)
@given(seed=st.integers(0, 2**32), danger=st.sampled_from((0.01, 0.05)))
def test_nothing_is_lost_or_counted_twice_whoever_is_killed_and_whoever_is_ahead(seed: int, danger: float) -> None:
    assert counted(side_by_side(seed, danger, 12)) == counted(orderly(12))


@cache
def orderly(size: int) -> World:
    return side_by_side(0, 0.0, size)
