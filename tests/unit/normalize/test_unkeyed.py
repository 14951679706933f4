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
from schemas.codec import decode_events, decode_tallies
from schemas.event import Event
from schemas.tally import Tally
from schemas.topics import AUTHLOG, EVENTS, MAILLOG, TALLIES
from schemas.topics import Topic as Named
from tests.support.paths import RECORDED
from tests.support.stages import REFERENCE_MS, normalize_stage

LINES = (RECORDED / "mail.log").read_bytes().splitlines()
LOGS = {MAILLOG: LINES, AUTHLOG: (RECORDED / "dovecot.log").read_bytes().splitlines()}


class Topic:
    """``maillog`` or ``authlog`` with several partitions, each with its stage, and what came of it. ``chosen``: of the
    next partition to be worked on."""

    def __init__(self, partitions: int, chosen: Callable[[list[int]], int], name: Named = MAILLOG) -> None:
        self.name = name.name
        self.stages = [normalize_stage(f"{self.name}-{n}") for n in range(partitions)]
        self.ends = [0] * partitions
        self.waiting: list[deque[Record]] = [deque() for _ in range(partitions)]
        self.chosen = chosen
        self.events: dict[tuple[bytes, ...], list[Event]] = {}
        self.tallies: dict[tuple[bytes, ...], list[Tally]] = {}
        self.saved = [list(stage.save()) for stage in self.stages]
        self.done: list[list[Record]] = [[] for _ in range(partitions)]

    def write(
        self, key: bytes | None, value: bytes, partition: int, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        offset = self.ends[partition]
        self.ends[partition] += 1
        record = Record(self.name, partition, offset, REFERENCE_MS, key, value, headers)
        self.waiting[partition].append(record)

    def work(self) -> None:
        """On one record, wherever."""
        partition = self.chosen([n for n, records in enumerate(self.waiting) if records])
        record = self.waiting[partition].popleft()
        self.done[partition].append(record)
        for out in self.stages[partition].process(record):
            self.send(out)

    def send(self, out: Outgoing) -> None:
        if out.topic == self.name:
            assert out.key
            assert out.value
            self.write(out.key, out.value, crc32(out.key) % len(self.stages), out.headers)
        elif out.topic == EVENTS.name:
            assert out.value
            headers = dict(out.headers)
            self.events[headers["source"], headers["offset"]] = decode_events(out.value)
        elif out.topic == TALLIES.name:
            assert out.value
            headers = dict(out.headers)
            self.tallies[headers["source"], headers["offset"]] = decode_tallies(out.value)

    def save(self, partition: int) -> None:
        self.saved[partition] = list(self.stages[partition].save())
        self.done[partition] = []

    def kill(self, partition: int) -> None:
        """All since the last save is worked on again, and what came of it is sent again."""
        stage: NormalizeStage = normalize_stage(f"{self.name}-{partition}")
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

    def counts(self) -> Counter[tuple[str, ...]]:
        """All that rules may count, by subject and peer."""
        counts: Counter[tuple[str, ...]] = Counter()
        for tally in (tally for tallies in self.tallies.values() for tally in tallies):
            for field in COUNTS:
                counts[tally.kind, tally.subject, tally.peer, tally.country, field] += getattr(tally, field)
        return +counts


COUNTS = ("messages", "recipients", "errors", "errors_mta", "errors_sasl", "successes", "webmail", "accused")


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


@pytest.mark.parametrize("name", LOGS, ids=lambda topic: topic.name)
@pytest.mark.parametrize(
    ("partitions", "chosen"), [(2, min), (4, max), (4, random.Random(5).choice)], ids=["first", "last", "any"]
)
def test_what_rules_count_is_the_same(name: Named, partitions: int, chosen: Callable[[list[int]], int]) -> None:
    """Also where all of one partition is worked on before the first message of another."""
    chance = random.Random(partitions)
    scattered, calm = Topic(partitions, chosen, name), Topic(1, min, name)
    for line in LOGS[name]:
        scattered.write(None, line, chance.randrange(partitions))
        calm.write(b"mx", line, 0)
    scattered.run()
    calm.run()
    found, wanted = scattered.counts(), calm.counts()
    assert wanted
    assert without_errors(found) == without_errors(wanted)
    errors, right = found - without_errors(found), wanted - without_errors(wanted)
    # What is one try, or one mistake, is told by the order of lines, which is lost here.
    assert 0.9 * right.total() < errors.total() < 1.15 * right.total()


def without_errors(counts: Counter[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    return Counter({key: count for key, count in counts.items() if not key[-1].startswith("errors")})


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
    passing, seen = Passing(), dict[bytes, set[int]]()
    for header in headers:
        repeated = passing.is_repeated(Record("maillog", 0, 0, 0, b"x", b"", ((PASSED, header),)))
        source, _, offset = header.partition(b" ")
        known = seen.setdefault(source, set())
        if repeated:
            assert min(known) <= int(offset) <= max(known)
        else:
            assert not offset.isdigit() or int(offset) not in known
        if source.startswith(b"maillog-") and offset.isdigit():
            known.add(int(offset))


def test_a_header_that_somebody_made_up_hides_nobody_elses_lines() -> None:
    """By each that he writes he hides a bounded number of messages, not all that are to come."""
    stage = normalize_stage("maillog-1")

    def events(offset: int, told: bytes) -> bool:
        record = Record("maillog", 1, offset, REFERENCE_MS, b"mx", LINES[offset], ((PASSED, told),))
        return any(out.topic == EVENTS.name for out in stage.process(record))

    assert events(0, b"maillog-0.0 7")
    for n, forged in enumerate((b"999999999", b"9" * 18, b"100000"), start=1):
        events(n, b"maillog-0.0 " + forged)
    assert [events(n, b"maillog-0.0 %d" % n) for n in range(8, 60)] == [True] * 52
    assert not events(60, b"maillog-0.0 59")


@pytest.mark.parametrize("size", [300_000, 990_000, 1_100_000, 3_000_000])
def test_no_message_that_is_passed_on_is_larger_than_its_topic_takes(size: int) -> None:
    """A packed message may hold more than fits into one; what fits into none is worked on where it came."""
    long = LINES[0] + b" " + b"x" * size
    of_json = (
        b'{"@timestamp": "2026-11-24T10:00:00Z", "program": "postfix/qmgr", "message": "removed", "host": "%s"}'
        % (b"h" * size)
    )
    for value in (long, b"\n".join([LINES[1], long, LINES[2]]), of_json):
        out = normalize_stage("maillog-0").process(Record("maillog", 0, 1, REFERENCE_MS, None, value))
        passed = [o for o in out if o.topic == MAILLOG.name]
        assert all(len(o.value or b"") + len(o.key or b"") + 10_000 < MAILLOG.max_bytes for o in passed)
        told = [o for o in out if o.topic in {EVENTS.name, "dead-letters"}]
        assert bool(told) == (size > 1_000_000)
        assert sum(len((o.value or b"").splitlines()) for o in passed + told) == len(value.splitlines())
