"""States for more partitions of ``tallies``: whenever it is broken off, jobs go on from what counts, and it can be run
again."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.kafka.memory import MemoryLog
from pipeline.adapters.streams.partitions.growing import Growth, GrowthRefused, check_number
from pipeline.adapters.streams.partitions.sealed import StateOfOtherNumber
from pipeline.adapters.streams.partitions.states import StateTopic
from pipeline.detect.shard import SavedShard
from pipeline.detect.stage import DetectStage
from pipeline.partition import partition_of
from schemas.codec import encode_frame
from schemas.origin import origin_headers
from schemas.tally import Tally
from schemas.topics import DETECT_STATE, TALLIES
from tests.support.stages import REFERENCE_MS, detect_stage

BEFORE, AFTER = 2, 4
ID = "the topic's id"
AT = REFERENCE_MS / 1000
Saved = tuple[int, list[object]]


class Killed(Exception):
    pass


class Outbox:
    """Gives out at once, and dies after so many messages."""

    def __init__(self, log: MemoryLog, lives: int) -> None:
        self.log, self.lives = log, lives

    def send(self, *message: Any, **place: Any) -> None:
        """See ``pipeline.ports.Outbox``."""
        if not self.lives:
            raise Killed
        self.lives -= 1
        self.log.send(*message, **place)
        self.log.flush()

    def flush(self) -> dict[tuple[str, int], int]:
        return {}


class Cluster:
    """The topics, and detect on each partition."""

    def __init__(self) -> None:
        self.log = MemoryLog({TALLIES.name: AFTER, DETECT_STATE.name: AFTER})
        self.offset = 0

    def growth(self, topic_id: str = ID) -> Growth:
        return Growth(self.log, topic_id, BEFORE, AFTER)

    def send(self, partitions: int) -> None:
        """A raw frame in which 30 accounts send."""
        frame = [Tally("account", f"a{n}@x.example", "198.51.100.7", "JP", AT, messages=1) for n in range(30)]
        for partition in range(partitions):
            of = [tally for tally in frame if partition_of(tally, partitions) == partition]
            headers = origin_headers("maillog-0", self.offset)
            self.log.send(TALLIES.name, None, encode_frame(of), headers, partition=partition)
        self.log.flush()
        self.offset += 1

    def detect(self, partitions: int) -> list[DetectStage]:
        """Opens each partition, counts what waits, and saves it if there was anything."""
        states, stages = StateTopic(self.log, DETECT_STATE, of=partitions), []
        for partition in range(partitions):

            def make(partition: int = partition) -> DetectStage:
                return detect_stage(partition, partitions)

            stage, seal, writer = states.open(make, TALLIES.name, partition, states.read(partition))
            stage.renew()
            stages.append(stage)
            begin = stage.position
            for record in self.log.read(TALLIES.name, partition, begin + 1):
                stage.process(record)
            if stage.position == begin:
                continue
            steps = [step for part in stage.save() for step in writer.part(part)]
            steps.append(writer.seal(stage.position, seal.life if seal else 3, ID, ()))
            for out in [*(step.out for step in steps), *writer.deletions()]:
                self.log.send(out.topic, out.key, out.value, out.headers, partition=out.partition)
            self.log.flush()
        return stages


def saved(stages: list[DetectStage]) -> list[Saved]:
    """Position, windows and episodes of each."""
    found: list[Saved] = []
    for stage in stages:
        stage.renew()
        shards = [SavedShard.load(p.value) for p in stage.save() if p.key.rpartition(b"/")[2].isdigit()]
        found.append((stage.position, [(shard.states, shard.episodes) for shard in shards]))
    return found


def counted(frames: int) -> Cluster:
    cluster = Cluster()
    for _ in range(frames):
        cluster.send(BEFORE)
    cluster.detect(BEFORE)
    return cluster


@cache
def undisturbed(frames: int) -> tuple[list[Saved], list[Saved], int]:
    """What was counted before, and after, and how many messages it took."""
    cluster = counted(frames)
    before, outbox = saved(cluster.detect(BEFORE)), Outbox(cluster.log, -1)
    cluster.growth().write(outbox)
    return before, saved(cluster.detect(AFTER)), -1 - outbox.lives


@settings(max_examples=40)
@given(data=st.data(), goes_on=st.booleans())
def test_broken_off_it_changes_nothing_and_can_be_run_again(data: st.DataObject, goes_on: bool) -> None:
    before, after, messages = undisturbed(2)
    assert [position for position, _ in after] == [1, 1, -1, -1]
    assert messages == AFTER * 35
    cluster = counted(2)
    with pytest.raises(Killed):
        cluster.growth().write(Outbox(cluster.log, data.draw(st.integers(0, messages - 1))))
    assert saved(cluster.detect(BEFORE)) == before
    if goes_on:  # they were started again meanwhile, and only now it is run once more
        cluster.send(BEFORE)
        assert saved(cluster.detect(BEFORE)) == undisturbed(3)[0]
        after = undisturbed(3)[1]
    assert cluster.growth().check() == [before[0][0] + goes_on] * BEFORE
    cluster.growth().write(Outbox(cluster.log, -1))
    states = StateTopic(cluster.log, DETECT_STATE)
    kept = [{(record.key or b"").partition(b"/")[0] for record in states.read(n)} for n in range(AFTER)]
    assert [len(ids) for ids in kept] == [2, 2, 1, 1]  # nothing of the first try
    assert saved(cluster.detect(AFTER)) == after


def test_what_is_sent_again_is_known_and_what_is_new_is_counted() -> None:
    cluster, fresh = counted(3), Cluster()
    cluster.growth().write(Outbox(cluster.log, -1))
    cluster.offset = 1
    for _ in range(4):
        cluster.send(AFTER)
    for _ in range(5):
        fresh.send(AFTER)
    windows = [shards for _, shards in saved(cluster.detect(AFTER))]
    assert windows == [shards for _, shards in saved(fresh.detect(AFTER))]


def test_states_of_an_earlier_life_with_more_partitions_do_not_count() -> None:
    cluster = Cluster()
    for _ in range(9):
        cluster.send(AFTER)
    cluster.detect(AFTER)
    cluster.log.partitions[TALLIES.name] = [[] for _ in range(AFTER)]
    cluster.log.partitions[DETECT_STATE.name][:BEFORE] = [[] for _ in range(BEFORE)]
    cluster.offset = 0
    for _ in range(2):
        cluster.send(BEFORE)
    cluster.detect(BEFORE)
    cluster.growth().write(Outbox(cluster.log, -1))
    assert saved(cluster.detect(AFTER)) == undisturbed(2)[1]


def test_what_is_not_counted_is_to_be_counted_first() -> None:
    cluster = counted(2)
    assert cluster.growth().check() == [1, 1]
    with pytest.raises(GrowthRefused, match="tallies, partition 0, has messages that are not counted"):
        cluster.growth("another id").check()
    cluster.send(BEFORE)
    with pytest.raises(GrowthRefused, match="start detect alone, with SEKIMORI_PARTITIONS=2"):
        cluster.growth().check()
    assert Cluster().growth().check() == [-1, -1]


def test_a_state_of_another_number_is_not_gone_on_with() -> None:
    cluster = counted(1)
    with pytest.raises(StateOfOtherNumber) as caught:
        cluster.detect(AFTER)
    told = str(caught.value)
    assert (
        "the state in detect-state, partition 0, is of another number of partitions of tallies: of 2, not of 4" in told
    )
    assert "sekimori prepare --tallies N" in told
    with pytest.raises(GrowthRefused, match="start detect, which says what to do"):
        Growth(cluster.log, ID, AFTER, AFTER).check_states()
    Growth(cluster.log, ID, BEFORE, BEFORE).check_states()


@given(st.integers(1, 512), st.integers(1, 512))
def test_only_a_multiple_is_taken(before: int, after: int) -> None:
    if after in range(before, 513, before):
        check_number(before, after)
    else:
        with pytest.raises(GrowthRefused, match="cannot have fewer" if after < before else f"not {after}"):
            check_number(before, after)
