"""What the store keeps of a message: all of it, or the reason why it cannot be read."""

from datetime import UTC, datetime

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.ports import Record
from pipeline.storage.archive import STORED, messages_of
from pipeline.storage.rows import (
    INT64,
    LARGEST,
    LATEST,
    UINT32,
    Release,
    dead_letter_columns,
    decision_columns,
    event_columns,
    release_columns,
)
from pipeline.storage.storing import EventFrame, _months
from schemas import dead_letter, enforcement, event
from schemas.codec import encode, encode_frame
from schemas.ddl import added_column, migrations
from schemas.dead_letter import DeadLetter
from schemas.enforcement import Decision
from tests.support.foreign import records

HEADERS = (("source", b"maillog-3"), ("offset", b"42"))
AT = datetime(2026, 11, 24, 1, 50, 43, tzinfo=UTC)


def record(topic: str, value: bytes | None, key: bytes = b"mx", headers: tuple[tuple[str, bytes], ...] = ()) -> Record:
    return Record(topic, 1, 7, int(AT.timestamp() * 1000), key, value, headers)


def test_a_frame_is_known_by_its_raw_frame() -> None:
    value = encode_frame(event.EXAMPLES)
    assert messages_of(record("events", value, headers=HEADERS)) == [EventFrame("maillog-3", 42, list(event.EXAMPLES))]
    assert messages_of(record("events", value)) == [EventFrame("events-1", 7, list(event.EXAMPLES))]


def test_decisions_and_dead_letters_are_kept() -> None:
    for decision in enforcement.EXAMPLES:
        assert messages_of(record("enforcement", encode(decision))) == [decision]
    assert messages_of(record("dead-letters", encode_frame(dead_letter.EXAMPLES))) == list(dead_letter.EXAMPLES)


def test_a_tombstone_is_a_release() -> None:
    headers = (("actor", b"operator:hana"), ("note", "誤検知".encode()))
    found = messages_of(record("enforcement", None, b"prefix:manual:2001:db8::/48", headers))
    assert found == [Release(AT, "prefix", "manual", "2001:db8::/48", "operator:hana", "誤検知", 7)]


def test_what_is_not_obeyed_is_told_and_no_decision() -> None:
    made = enforcement.EXAMPLES[0]
    for value in (encode(made), None):
        (letter,) = messages_of(record("enforcement", value, made.key.encode()), "it is not signed")
        assert isinstance(letter, DeadLetter)
        assert (letter.source, letter.offset, letter.reason) == ("enforcement-1", 7, "not obeyed: it is not signed")


def test_an_event_without_a_zone_is_told() -> None:
    value = encode(event.EXAMPLES[0]).replace(b"Z", b"")
    (letter,) = messages_of(record("events", value, headers=HEADERS))
    assert isinstance(letter, DeadLetter)
    assert letter.reason == "the time of an event has no zone"


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(st.sampled_from([topic.name for topic in STORED]).flatmap(records))
def test_whatever_comes_is_kept_or_told(record: Record) -> None:
    found = messages_of(record)
    assert found or not record.value or record.topic == "dead-letters" or not record.value.strip()
    for message in found:
        match message:
            case EventFrame():
                assert 0 <= message.offset <= INT64
                columns = event_columns([(message.source, message.offset, message.events)])
            case Release():
                columns = release_columns([message])
            case DeadLetter():
                assert message.reason or record.topic == "dead-letters"
                columns = dead_letter_columns([message])
            case Decision():
                columns = decision_columns([message])
        assert all(
            0 <= seconds <= LATEST for name in ("time", "issued_at", "expires_at") for seconds in columns.get(name, ())
        )
        assert not isinstance(message, EventFrame) or _months(event.time for event in message.events) >= set()


@given(number=st.integers(), stamp=st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))
def test_columns_hold_only_what_the_store_can(number: int, stamp: datetime) -> None:
    strange = msgspec.structs.replace(event.EXAMPLES[0], nrcpt=number, size=number, count=number, time=stamp)
    columns = event_columns([("s", number, [strange])])
    for name, top in (("nrcpt", UINT32), ("count", UINT32), ("size", LARGEST), ("frame", INT64), ("time", LATEST)):
        assert 0 <= columns[name][0] <= top
    assert isinstance(messages_of(record("events", encode(strange)))[0], EventFrame | DeadLetter)


def test_files_of_the_store_are_numbered_and_can_be_repeated() -> None:
    found = migrations()
    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    for migration in found:
        for statement in migration.statements:
            assert " IF NOT EXISTS " in statement or added_column(statement), migration.name
            for modern in ("TTL", "DateTime64", "IPv6", "LowCardinality", "toStartOfInterval"):
                assert modern not in statement, migration.name


def test_columns_that_a_statement_adds() -> None:
    assert added_column("ALTER TABLE events ADD COLUMN pool String AFTER channel") == ("events", "pool")
    assert added_column("ALTER TABLE events DROP COLUMN pool") is None
