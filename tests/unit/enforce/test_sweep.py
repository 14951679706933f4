"""Decisions that are long over go, and no other: against a topic as a list, and a compacted one as a dictionary."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.enforce.sweep import MARGIN, Message, Sweep, is_over
from pipeline.ports import Record
from schemas.codec import DecodeError, decode_decision, encode
from schemas.enforcement import AGAIN, OVER
from tests.support.decisions import AT, NOW, decision
from tests.support.foreign import records

HOURS = 3600.0
TOMBSTONE = ((OVER, b"1"),)


class Topic:
    def __init__(self) -> None:
        self.log: list[Record] = []

    def write(self, key: bytes, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        self.log.append(Record("enforcement", 0, len(self.log), 0, key, value, headers))

    def compacted(self) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for record in self.log:
            if record.value is None:
                found.pop(record.key or b"", None)
            else:
                found[record.key or b""] = record.value
        return found


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.integers(0, 3), st.integers(1, 60)),
        st.tuples(st.just("lift"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("wait"), st.just(0), st.integers(1, 40)),
        st.tuples(st.just("read"), st.just(0), st.just(0)),
        st.tuples(st.just("sweep"), st.just(0), st.just(0)),
        st.tuples(st.just("another"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(STEPS)
@example([("decide", 0, 1), ("read", 0, 0), ("decide", 0, 1), ("lift", 0, 0), ("wait", 0, 25), ("sweep", 0, 0)])
@example(
    [("decide", 3, 1), ("read", 0, 0), ("decide", 3, 1), ("wait", 0, 25), ("sweep", 0, 0), ("lift", 3, 0)],
)
@example(
    [("decide", 3, 1), ("read", 0, 0), ("decide", 3, 1), ("wait", 0, 25), ("sweep", 0, 0), ("decide", 3, 1)],
)
def test_only_what_is_long_over_goes_whatever_crosses_the_tombstones(steps: list[Any]) -> None:
    """A sweeper may see less than the topic's end when it writes: others write at the same moment."""
    topic, sweep, at, now = Topic(), Sweep(), 0, NOW
    wanted: dict[bytes, bytes] = {}

    def read() -> None:
        nonlocal at
        while at < len(topic.log):
            again = sweep.take(topic.log[at])
            at += 1
            if again is not None:
                topic.write(*again)

    for what, n, hours in [*steps, ("read", 0, 0)]:
        if what == "decide":
            issued = datetime.fromtimestamp(now, UTC)
            made = decision(f"user{n}@example.org", issued_at=issued, seconds=hours * HOURS)
            wanted[made.key.encode()] = encode(made)
            topic.write(made.key.encode(), encode(made))
        elif what == "lift":
            key = decision(f"user{n}@example.org").key.encode()
            wanted.pop(key, None)
            topic.write(key, None)
        elif what == "wait":
            now += hours * HOURS
        elif what == "read":
            read()
        elif what == "sweep":
            for message in sweep.over(now):
                topic.write(message.key, message.value, TOMBSTONE)
        else:  # another takes over, having read all that this one had sent
            read()
            sweep, at = Sweep(), 0
            read()
    kept = topic.compacted()
    for key, value in wanted.items():
        if decode_decision(value).expires_at.timestamp() + MARGIN > now:
            assert kept[key] == value
    assert kept.keys() <= wanted.keys()
    for message in sweep.over(now):
        topic.write(message.key, message.value, TOMBSTONE)
    left = {key for key, value in wanted.items() if decode_decision(value).expires_at.timestamp() + MARGIN > now}
    assert topic.compacted().keys() == left


def test_it_is_done_in_portions_and_once() -> None:
    sweep = Sweep()
    for n in range(25):
        made = decision(f"user{n}@example.org", seconds=60)
        sweep.take(Record("enforcement", 0, n, 0, made.key.encode(), encode(made)))
    assert sweep.over(NOW + MARGIN) == []
    assert [len(sweep.over(NOW + 60 + MARGIN, most=10)) for _ in range(4)] == [10, 10, 5, 0]


def test_what_others_write_again_is_swept_later_as_before() -> None:
    sweep, made = Sweep(), decision("user@example.org", issued_at=AT - timedelta(days=9), seconds=60)
    key, value = made.key.encode(), encode(made)
    sweep.take(Record("enforcement", 0, 0, 0, key, value))
    assert sweep.over(NOW) == [Message(key, None)]
    assert sweep.take(Record("enforcement", 0, 1, 0, key, value)) is None
    crossed = sweep.take(Record("enforcement", 0, 2, 0, key, None, TOMBSTONE))
    assert crossed == Message(key, value, ((AGAIN, b"1"),))
    sweep.leave(key)
    sweep.take(Record("enforcement", 0, 3, 0, key, value))
    assert sweep.over(NOW) == [Message(key, None)]


def test_a_decision_about_an_old_log_stays_a_day_too() -> None:
    sweep, made = Sweep(), decision("user@example.org", issued_at=AT - timedelta(days=90), seconds=60)
    sweep.take(Record("enforcement", 0, 0, int(NOW * 1000), made.key.encode(), encode(made)))
    assert sweep.over(NOW + MARGIN - 1) == []
    assert sweep.over(NOW + MARGIN) == [Message(made.key.encode(), None)]


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(st.lists(records("enforcement"), max_size=3))
def test_what_cannot_be_read_is_left_where_it_is(foreign: list[Record]) -> None:
    sweep, made = Sweep(), decision("user@example.org", issued_at=AT - timedelta(days=9), seconds=60)
    for record in foreign:
        sweep.take(record)
    sweep.take(Record("enforcement", 0, 9, 0, made.key.encode(), encode(made)))
    assert Message(made.key.encode(), None) in sweep.over(NOW)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(records("enforcement"))
def test_whether_a_message_is_over_is_what_the_decision_says(record: Record) -> None:
    value = record.value or b""
    try:
        over = decode_decision(value).expires_at.timestamp() <= NOW
    except DecodeError:
        return
    assert is_over(value, NOW) == over
