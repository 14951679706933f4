"""What was signed stays on the topic, whoever writes to it, and nobody makes us write without end: against a list."""

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.standing import told_of
from pipeline.enforce.guard import MOST, REST, Guard
from pipeline.ports import Record
from schemas.codec import encode
from schemas.enforcement import HELD, OVER
from tests.support.decisions import AT, NOW, decision

DAY = 86_400.0
SIGNED = ("signature", b"right")


def signed(record: Record) -> bool:
    return SIGNED in record.headers


def value(n: int, hours: int) -> Record:
    made = decision(f"user{n}@example.org", issued_at=AT + timedelta(hours=hours), seconds=DAY)
    return Record("enforcement", 0, 0, 0, made.key.encode(), encode(made), (SIGNED,))


def tombstone(n: int, hours: int, over: bool = False) -> Record:
    made = value(n, hours)
    issued, until = (AT + timedelta(hours=hours)).isoformat(), (AT + timedelta(hours=hours, days=1)).isoformat()
    held = tuple(zip(HELD, (issued.encode(), until.encode()), strict=True))
    return Record("enforcement", 0, 0, 0, made.key, None, (*held, *(((OVER, b"1"),) if over else ()), SIGNED))


def unsigned(record: Record) -> Record:
    return Record("enforcement", 0, 0, 0, record.key, record.value, tuple(h for h in record.headers if h != SIGNED))


MESSAGES = st.builds(
    lambda make, n, hours, is_signed: make(n, hours) if is_signed else unsigned(make(n, hours)),
    st.sampled_from([value, tombstone]),
    st.integers(0, 2),
    st.integers(0, 3),
    st.booleans(),
)


def model(log: list[Record]) -> dict[Any, Record]:
    """Of each key: of all signed messages the one issued last; at one time, a tombstone before a decision, else the
    first of them. Slow and obvious."""
    found: dict[Any, Record] = {}
    for record in log:
        if signed(record):
            known = found.get(record.key)
            rank = (told_of(record).issued, record.value is None)
            if known is None or rank > (told_of(known).issued, known.value is None):
                found[record.key] = record
    return found


@settings(max_examples=400)
@given(st.lists(st.one_of(MESSAGES, st.none()), max_size=40))
def test_in_the_end_the_topic_has_what_was_signed_last(steps: list[Record | None]) -> None:
    """None: a look by the guard, which may lag behind the others."""
    guard, log, at, clock = Guard(signed), list[Record](), 0, 0.0
    for step in [*steps, None, None]:
        if step is not None:
            log.append(step)
            continue
        while at < len(log):
            guard.take(log[at], NOW)
            at += 1
        clock += REST
        log += guard.again(clock)
    last = {record.key: record for record in log}
    for key, record in model(log).items():
        assert (last[key].value, last[key].headers) == (record.value, record.headers)
    while at < len(log):
        guard.take(log[at], NOW)
        at += 1
    assert guard.again(clock + REST) == []


def test_who_writes_without_end_does_not_make_us_do_so() -> None:
    guard = Guard(signed)
    for n in range(3 * MOST):
        guard.take(value(n, 0), NOW)
    written = 0
    for second in range(60):
        for n in range(3 * MOST):
            guard.take(unsigned(tombstone(n, 0)), NOW)
        again = guard.again(float(second))
        assert len(again) <= MOST
        written += len(again)
        for record in again:
            guard.take(record, NOW)
    assert 3 * MOST <= written <= 3 * MOST * 60 / REST


def test_a_stolen_key_of_detect_does_not_clear_away_what_holds() -> None:
    guard = Guard(signed)
    guard.take(value(1, 0), NOW)
    assert not guard.take(tombstone(1, 0, over=True), NOW)
    assert guard.again(0) == [value(1, 0)]
    guard.take(value(1, 0), NOW)
    assert guard.take(tombstone(1, 0, over=True), NOW + 2 * DAY)
    assert guard.again(REST) == []
    assert guard.issued(value(1, 0).key or b"") is None


def test_a_lifted_decision_stays_lifted_for_as_long_as_it_would_hold() -> None:
    guard, lifted = Guard(signed), tombstone(1, 0)
    guard.take(value(1, 0), NOW)
    guard.take(lifted, NOW)
    guard.take(value(1, 0), NOW)  # written again by somebody
    guard.forget(NOW + DAY - 1)
    assert guard.again(0) == [lifted]
    guard.forget(NOW + DAY)
    assert guard.again(REST) == []


def test_what_cannot_be_read_is_not_obeyed_though_it_is_signed() -> None:
    guard = Guard(signed)
    guard.take(value(1, 0), NOW)
    assert not guard.take(Record("enforcement", 0, 0, 0, value(1, 0).key, b"{", (SIGNED,)), NOW)
    assert guard.again(0) == [value(1, 0)]
