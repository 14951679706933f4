"""Lines that were scattered over partitions meet at their host's, once, however often workers are killed."""

import random
from collections import Counter, deque
from collections.abc import Callable
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.normalize.stage import NormalizeStage
from pipeline.normalize.unkeyed import PASSED, Passing, is_unkeyed
from pipeline.partition import Outgoing
from pipeline.ports import Record
from schemas.codec import decode_events
from schemas.event import Event
from schemas.topics import EVENTS, MAILLOG
from tests.support.paths import RECORDED
from tests.support.stages import REFERENCE_MS, normalize_stage

LINES = (RECORDED / "mail.log").read_bytes().splitlines()


class Topic:
    """``maillog`` with several partitions, each with its stage, and what came of it. ``chosen``: of the next partition
    to be worked on."""

    def __init__(self, partitions: int, chosen: Callable[[list[int]], int]) -> None:
        self.stages = [normalize_stage(f"maillog-{n}") for n in range(partitions)]
        self.ends = [0] * partitions
        self.waiting: list[deque[Record]] = [deque() for _ in range(partitions)]
        self.chosen = chosen
        self.events: dict[tuple[bytes, ...], list[Event]] = {}
        self.saved = [list(stage.save()) for stage in self.stages]
        self.done: list[list[Record]] = [[] for _ in range(partitions)]

    def write(
        self, key: bytes | None, value: bytes, partition: int, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        offset = self.ends[partition]
        self.ends[partition] += 1
        record = Record(MAILLOG.name, partition, offset, REFERENCE_MS, key, value, headers)
        self.waiting[partition].append(record)

    def work(self) -> None:
        """On one record, wherever."""
        partition = self.chosen([n for n, records in enumerate(self.waiting) if records])
        record = self.waiting[partition].popleft()
        self.done[partition].append(record)
        for out in self.stages[partition].process(record):
            self.send(out)

    def send(self, out: Outgoing) -> None:
        if out.topic == MAILLOG.name:
            assert out.key
            assert out.value
            self.write(out.key, out.value, crc32(out.key) % len(self.stages), out.headers)
        elif out.topic == EVENTS.name:
            assert out.value
            headers = dict(out.headers)
            self.events[headers["source"], headers["offset"]] = decode_events(out.value)

    def save(self, partition: int) -> None:
        self.saved[partition] = list(self.stages[partition].save())
        self.done[partition] = []

    def kill(self, partition: int) -> None:
        """All since the last save is worked on again, and what came of it is sent again."""
        stage: NormalizeStage = normalize_stage(f"maillog-{partition}")
        stage.load(self.saved[partition])
        self.stages[partition] = stage
        self.waiting[partition].extendleft(reversed(self.done[partition]))
        self.done[partition] = []

    def run(self) -> None:
        while any(self.waiting):
            self.work()

    def submissions(self) -> Counter[str | None]:
        every = [event for events in self.events.values() for event in events]
        assert len(every) == len({id(event) for event in every})
        return Counter(event.account for event in every if event.kind == "submission")


def undisturbed() -> tuple[Counter[str | None], int]:
    topic = Topic(1, min)
    for line in LINES:
        topic.write(b"mx", line, 0)
    topic.run()
    return topic.submissions(), sum(map(len, topic.events.values()))


EXPECTED, COUNT = undisturbed()


@pytest.mark.parametrize("partitions", [2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_every_submission_of_a_recorded_log_is_found(partitions: int, seed: int) -> None:
    """Line by line, without a key, to partitions by chance."""
    chance = random.Random(seed)
    topic = Topic(partitions, chance.choice)
    for at, line in enumerate(LINES):
        topic.write(None, line, chance.randrange(partitions))
        if at % 10 == 9:
            while sum(map(len, topic.waiting)) > 40:
                topic.work()
    topic.run()
    assert sum(EXPECTED.values()) == 882
    assert topic.submissions() == EXPECTED
    assert sum(map(len, topic.events.values())) == COUNT


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_killed_workers_count_no_line_twice(seed: int, partitions: int) -> None:
    chance = random.Random(seed)
    topic = Topic(partitions, chance.choice)
    for line in LINES[:500]:
        topic.write(None, line, chance.randrange(partitions))
        while sum(map(len, topic.waiting)) > 30:
            topic.work()
            if chance.random() < 0.05:
                chance.choice([topic.save, topic.kill])(chance.randrange(partitions))
    topic.run()
    calm = Topic(1, min)
    for line in LINES[:500]:
        calm.write(b"mx", line, 0)
    calm.run()
    assert topic.submissions() == calm.submissions()
    assert sum(map(len, topic.events.values())) == sum(map(len, calm.events.values()))


def test_lines_that_speak_of_nobody_are_told_where_they_came() -> None:
    stage = normalize_stage("maillog-3")
    bad = b"Nov 24 01:50:43 mx postfix/qmgr[1]: A0DED23C18C: from=<alice@x.example>, size=x, nrcpt=2 (queue active)"
    out = stage.process(Record("maillog", 3, 7, REFERENCE_MS, b"", b"\n".join([LINES[0], bad, b"?", LINES[1]])))
    passed = [o for o in out if o.topic == "maillog"]
    assert [(o.key, o.value) for o in passed] == [(LINES[0].split()[3], b"\n".join(LINES[:2]))]
    assert [o.topic for o in out if o not in passed] == ["dead-letters"]
    assert not is_unkeyed(Record("maillog", 0, 0, 0, None, b"", passed[0].headers))


@given(st.lists(st.binary(max_size=30) | st.from_regex(rb"maillog-[01]\.[01] [0-9]{1,3}", fullmatch=True)))
def test_headers_of_others_are_never_an_error(headers: list[bytes]) -> None:
    passing, highest = Passing(), dict[bytes, int]()
    for header in headers:
        repeated = passing.is_repeated(Record("maillog", 0, 0, 0, b"x", b"", ((PASSED, header),)))
        source, _, offset = header.partition(b" ")
        if repeated:
            assert int(offset) <= highest[source]
        elif offset.isdigit() and source.startswith(b"maillog-"):
            highest[source] = int(offset)
