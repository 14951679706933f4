"""What the store keeps of a message: all of it, or the reason why it cannot be read."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ports import Record
from pipeline.storage.archive import STORED, messages_of
from pipeline.storage.rows import INT64, LARGEST, LATEST, UINT32, Release, event_columns
from pipeline.storage.storing import EventFrame
from schemas import dead_letter, enforcement, event
from schemas.codec import encode, encode_frame
from schemas.ddl import added_column, migrations
from schemas.dead_letter import DeadLetter

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


def test_an_event_without_a_zone_is_told() -> None:
    value = encode(event.EXAMPLES[0]).replace(b"Z", b"")
    (letter,) = messages_of(record("events", value, headers=HEADERS))
    assert isinstance(letter, DeadLetter)
    assert letter.reason == "the time of an event has no zone"


@given(
    topic=st.sampled_from([topic.name for topic in STORED]),
    value=st.none() | st.binary(max_size=60) | st.just(encode_frame(event.EXAMPLES)),
    key=st.none() | st.binary(max_size=20),
    headers=st.lists(st.tuples(st.sampled_from(["source", "offset", "actor", "note"]), st.binary(max_size=8))),
)
def test_whatever_comes_is_kept_or_told(
    topic: str, value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    found = messages_of(Record(topic, 1, 7, 0, key, value, tuple(headers)))
    assert all(isinstance(message, EventFrame | Release | DeadLetter) or message.id for message in found)
    if not found:
        assert not value or topic == "dead-letters" or not value.strip()


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
