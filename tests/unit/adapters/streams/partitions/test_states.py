"""Saved states on their topic: versions, deleted parts, and what an operator is told of one that cannot be read."""

import pytest

from pipeline.adapters.kafka.memory import MemoryLog
from pipeline.adapters.streams.partitions.sealed import part_of
from pipeline.adapters.streams.partitions.states import Checkpoint, StateTopic, forget
from pipeline.partition import StatePart, StateUnreadable
from pipeline.ports import Record
from schemas.topics import DETECT_STATE
from tests.support.stages import detect_stage

HEADERS = (("format", b"1"),)


def write(log: MemoryLog, key: bytes | None, value: bytes | None, *headers: tuple[str, bytes]) -> None:
    log.send(DETECT_STATE.name, key, value, headers, partition=1)
    log.flush()


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog({DETECT_STATE.name: 2})


@pytest.fixture
def states(log: MemoryLog) -> StateTopic:
    return StateTopic(log, DETECT_STATE)


def test_what_was_written_last_is_read_with_its_version_and_what_is_deleted_is_not(
    log: MemoryLog, states: StateTopic
) -> None:
    write(log, b"1/0", b"old")
    write(log, b"1/1", b"deleted")
    write(log, b"1/2", b"deleted and there again")
    write(log, b"1/1", None)
    write(log, b"1/2", None)
    write(log, None, b"of nobody")
    write(log, b"1/0", b"new", ("format", b"7"))
    write(log, b"1/2", b"again", ("format", b"1"))
    write(log, b"1/3", b"without a version")
    assert sorted(part_of(record)[:3] for record in states.read(1)) == [
        (b"1/0", b"new", 7),
        (b"1/2", b"again", 1),
        (b"1/3", b"without a version", 1),
    ]
    assert states.read(0) == []


@pytest.mark.parametrize("told", [b"", b"x", b"\xff", b"1.0", b"9" * 5000])
def test_a_version_that_is_no_number_is_refused(told: bytes) -> None:
    with pytest.raises(StateUnreadable, match="the version of its format is b") as caught:
        part_of(Record(DETECT_STATE.name, 1, 0, 0, b"1/0", b"", (("format", told),)))
    assert caught.value.key == b"1/0"


@pytest.mark.parametrize(
    ("key", "headers", "shown", "why"),
    [
        (b"1/0", HEADERS, "1/0", "it is damaged, or of an unknown format (Error "),
        (b"1/sources", HEADERS, "1/sources", "it is damaged, or of an unknown format ("),
        (
            b"1/\x1b[31m\n\xff\xe2\x80\xae",
            HEADERS,
            r"1/\x1b[31m\n\xff\u202e",
            "it is damaged, or of an unknown format (",
        ),
        (b"1/0", (("format", b"3"),), "1/0", "its format is version 3, and this program knows them up to 2"),
        (b"1/0", (("format", b"\x1b"),), "1/0", r"the version of its format is b'\x1b'"),
    ],
)
def test_an_operator_is_told_which_state_cannot_be_read_and_what_to_do(
    log: MemoryLog, states: StateTopic, key: bytes, headers: tuple[tuple[str, bytes], ...], shown: str, why: str
) -> None:
    write(log, key, b"\x1bgarbage", *headers)
    with pytest.raises(StateUnreadable) as caught:
        states.open(lambda: detect_stage(1), "tallies", 1, states.read(1))
    told = str(caught.value)
    assert told.startswith(f"the state in detect-state, partition 1, key {shown}, cannot be read: {why}")
    assert told.isprintable()
    assert (
        ". Start the version of sekimori that wrote it; or stop the job and delete the state of this partition, with: "
        "sekimori prepare --forget-state detect-state/1; then the tallies that its topic still "
    ) in told


def test_a_forgotten_state_is_gone_and_others_stay(log: MemoryLog, states: StateTopic) -> None:
    for key in (b"1/0", b"1/1", b"1/0", b"odd\xff"):
        write(log, key, b"state")
    log.send(DETECT_STATE.name, b"0/0", b"another", partition=0)
    assert forget(log, log, DETECT_STATE, 1) == 3
    assert states.read(1) == []
    assert [record.value for record in states.read(0)] == [b"another"]


def test_a_checkpoint_is_taken_a_few_parts_at_a_time() -> None:
    parts = [StatePart(b"%d" % n, b"") for n in range(5)]
    checkpoint = Checkpoint(iter(parts), start=7)
    assert checkpoint.take(-1.0) == (parts[:1], False)
    assert checkpoint.take(-1.0) == (parts[1:2], False)
    assert checkpoint.take(60.0) == (parts[2:], True)
    assert checkpoint.take(60.0) == ([], True)
