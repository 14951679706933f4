"""Which of the signed messages with one key holds: the same whatever their order, and however often they come."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect.granted import Granted
from pipeline.detect.standing import NEVER, Lifts, Told, supersedes, time_of, told_by, told_of
from pipeline.enforce.table import DecisionTable
from pipeline.ports import Record
from schemas.codec import DecodeError, encode
from schemas.enforcement import HELD, OVER
from tests.support.decisions import NOW, allow, decision
from tests.support.foreign import records

TOLD = st.builds(Told, st.integers(0, 6).map(float), st.just(NEVER), st.booleans(), st.just(False))


def standing(messages: list[Told]) -> Told | None:
    known = None
    for told in messages:
        if supersedes(told, known, 0.0):
            known = told
    return known


@given(st.lists(TOLD, max_size=6), st.data())
def test_order_and_repetition_change_nothing(messages: list[Told], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(messages * 2))
    last = max(messages, key=lambda told: (told.issued, told.lifts), default=None)
    assert standing(shuffled) == standing(messages) == last


@given(st.lists(TOLD, max_size=6), st.data())
def test_table_and_allowlist_keep_the_same_rule(messages: list[Told], data: st.DataObject) -> None:
    """A decision that a tombstone lifts may come before it or after it, from an old reading or by a replay."""
    table, granted = DecisionTable(), Granted()
    for told in data.draw(st.permutations(messages * 2)):
        issued = datetime.fromtimestamp(NOW + told.issued, UTC)
        made, entry = decision("x@example.org", issued_at=issued), allow("x@example.org", issued_at=issued)
        at = Told(NOW + told.issued, NEVER, lifts=True)
        table.apply(made.key, None if told.lifts else made, at if told.lifts else None)
        granted.apply(entry.key, None if told.lifts else entry, at if told.lifts else None)
    last = max(messages, key=lambda told: (told.issued, told.lifts), default=None)
    wanted = None if last is None or last.lifts else NOW + last.issued
    found, allowed = table.find(decision("x@example.org").key), granted.find(allow("x@example.org").key)
    assert (found.issued_at if found else None) == wanted
    assert (allowed.issued_at.timestamp() if allowed else None) == wanted


def test_what_is_cleared_away_is_over() -> None:
    held, cleared = Told(5, 10), Told(5, NEVER, lifts=True, over=True)
    assert not supersedes(cleared, held, 9)
    assert supersedes(cleared, held, 10)
    assert not supersedes(cleared._replace(issued=4), held, 10)


def test_messages_tell_their_times() -> None:
    made = decision("x@example.org", seconds=60)
    told = told_by(made.issued_at, made.expires_at)
    record = Record("enforcement", 0, 0, 0, made.key.encode(), encode(made))
    assert told_of(record) == told == (NOW, NOW + 60, False, False)
    held = [
        (name, time.isoformat().encode()) for name, time in zip(HELD, (made.issued_at, made.expires_at), strict=True)
    ]
    lifted = Record("enforcement", 0, 0, 0, made.key.encode(), None, (*held, (OVER, b"1")))
    assert told_of(lifted) == (NOW, NOW + 60, True, True)
    at = (("at", b"2026-11-24T01:00:00+00:00"),)
    assert told_of(Record("settings", 0, 0, 0, b"k", None, at)) == (NOW, NEVER, True, False)
    assert told_of(Record("settings", 0, 0, 0, b"k", None)) == (0, NEVER, True, False)


@given(records("enforcement"))
def test_what_is_no_message_is_refused_and_no_more(record: Record) -> None:
    try:
        told = told_of(record)
    except DecodeError:
        return
    assert told.lifts == (record.value is None)


@given(st.binary(max_size=40))
def test_what_is_no_time_is_none(at: bytes) -> None:
    found = time_of(at)
    assert found is None or isinstance(found, float)


def test_lifts_are_kept_for_as_long_as_it_would_hold() -> None:
    lifts = Lifts()
    lifts.note("k", Told(5, 10, lifts=True))
    lifts.note("k", Told(4, 20, lifts=True))
    assert [lifts.cover("k", at) for at in (4, 5, 6)] == [True, True, False]
    lifts.expire(9.9)
    assert len(lifts.copy()) == 1
    lifts.expire(10)
    assert not lifts.cover("k", 4)
