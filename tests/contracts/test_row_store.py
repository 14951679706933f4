"""One suite for every engine of the analytical store: chdb in a folder, a real ClickHouse server."""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import get_type_hints

import msgspec
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.adapters.stores.chdb_store import ChdbStore
from pipeline.adapters.stores.clickhouse import ClickHouse
from pipeline.ports import RowStore, StoreError, StoreUnavailable, Value
from pipeline.storage.events import frames_of, rows_of, slices
from pipeline.storage.rows import (
    MILLISECONDS,
    PLACE,
    RENAMED,
    Columns,
    Release,
    dead_letter_columns,
    decision_columns,
    event_columns,
    release_columns,
)
from pipeline.storage.storing import EventFrame, Sink, apply_ddl, drop_before, known_frames, unstored
from schemas import dead_letter, enforcement, event
from schemas.ddl import migrations
from schemas.dead_letter import DeadLetter
from schemas.enforcement import Decision, Evidence
from schemas.event import Event
from tests.support.servers import ClickHouseServer, free_port

AT = datetime(2026, 11, 24, 1, 50, 43, 125_000, tzinfo=UTC)
EXAMPLES: dict[str, Columns] = {
    "events": event_columns([("maillog-0", 7, event.EXAMPLES)]),
    "decisions": decision_columns(enforcement.EXAMPLES),
    "dead_letters": dead_letter_columns(dead_letter.EXAMPLES),
    "releases": release_columns([Release(AT, "ip", "ip_send_rate", "192.0.2.1", "operator:hana", "mistaken", 5)]),
}

# text that a statement could trip over, and whatever hypothesis comes up with
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.sampled_from(["'; DROP TABLE events --", "\\", "\\'", "%s %(a)s {x:String} :name", "\0\n\r\t\b\f", "関守"]),
)
ONE_STORE = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def events(*times: datetime, kind: str = "submission") -> list[Event]:
    return [
        msgspec.convert(
            {"kind": kind, "time": t, "host": "mx", "program": "qmgr", "account": "a@example.org", "nrcpt": 2}, Event
        )
        for t in times
    ]


def numbers(store: RowStore) -> tuple[int, int, int]:
    """Events, events by the rates, recipients by the rates."""
    rates = store.query("SELECT sum(events) AS n, sum(recipients) AS r FROM rates_per_minute")
    return (
        int(store.query("SELECT count() AS n FROM events")["n"][0]),
        int(rates["n"][0]),
        int(rates["r"][0]),
    )


def test_ddl_can_be_applied_again(store: RowStore) -> None:
    store.insert("events", EXAMPLES["events"])
    assert apply_ddl(store) == sorted(apply_ddl(store))
    assert store.query("SELECT count() AS n FROM events")["n"].tolist() == [len(event.EXAMPLES)]


def test_a_store_of_before_is_brought_up_to_date_with_what_it_holds(store: RowStore) -> None:
    for table in ("events_to_rates", "events"):
        store.execute(f"DROP TABLE {table}")
    apply_ddl(store, [migration for migration in migrations() if migration.number <= 5])
    old = {name: values for name, values in EXAMPLES["events"].items() if name != "pool"}
    with pytest.raises(StoreError, match="pool"):
        store.query("SELECT pool FROM events")
    store.insert("events", old)
    for _ in range(2):
        apply_ddl(store)
    assert store.query("SELECT pool FROM events")["pool"].tolist() == [""] * len(event.EXAMPLES)
    sink = Sink(store)
    sink.add(EventFrame("maillog-0", 8, list(event.EXAMPLES)))
    sink.flush()
    found = store.query("SELECT frame, groupArray(pool) AS pools FROM events GROUP BY frame ORDER BY frame")
    assert [sorted(pools) for pools in found["pools"]] == [["", "", ""], ["", "", "slow"]]
    rates = store.query("SELECT frame, sum(events) AS n FROM rates_per_minute GROUP BY frame ORDER BY frame")
    assert rates["n"].tolist() == [len(event.EXAMPLES)] * 2


@pytest.mark.parametrize("table", list(EXAMPLES))
def test_columns_of_a_table_are_those_of_its_rows(store: RowStore, table: str) -> None:
    found = store.query(
        "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = :table", table=table
    )
    assert sorted(found["name"]) == sorted(EXAMPLES[table])


@pytest.mark.parametrize(
    ("table", "message", "beside"),
    [
        ("events", Event, {MILLISECONDS, *PLACE}),
        ("decisions", Decision, set(get_type_hints(Evidence))),
        ("dead_letters", DeadLetter, set()),
    ],
)
def test_every_field_of_a_message_has_a_column(table: str, message: type[msgspec.Struct], beside: set[str]) -> None:
    fields = {RENAMED.get(field.name, field.name) for field in msgspec.structs.fields(message)}
    assert fields - {"evidence"} | beside == set(EXAMPLES[table])


def test_what_was_inserted_comes_back(store: RowStore) -> None:
    for table, columns in EXAMPLES.items():
        store.insert(table, columns)
        length = len(next(iter(columns.values())))
        order = "source, frame, record" if table in ("events", "dead_letters") else "subject"
        found = store.query(f"SELECT * FROM {table} ORDER BY {order}")
        assert len(found) == length
        for name, values in columns.items():
            got = found[name]
            if isinstance(got.dtype, pd.DatetimeTZDtype):
                got = got.astype("int64")
            expected = (
                values if order != "subject" else [v for _, v in sorted(zip(columns["subject"], values, strict=True))]
            )
            assert got.tolist() == expected, (table, name)


def test_packed_columns_are_the_same_rows(store: RowStore) -> None:
    for table, columns in EXAMPLES.items():
        before = store.query(f"SELECT count() AS n FROM {table}")["n"][0]
        store.insert(table, store.pack(table, columns))
        length = len(next(iter(columns.values())))
        assert store.query(f"SELECT count() AS n FROM {table}")["n"][0] == before + length


def test_types_are_the_same_from_every_engine(store: RowStore) -> None:
    store.insert("decisions", EXAMPLES["decisions"])
    select = (
        "SELECT subject, count() AS n, sum(observed) AS f, max(issued_at) AS t, toDate(max(issued_at)) AS d, "
        "groupArray(rule) AS a, toStartOfHour(max(issued_at)) AS h FROM decisions WHERE subject != :s GROUP BY subject"
    )
    for nothing in (False, True):
        found = store.query(f"{select}{' HAVING n > 100' if nothing else ''} ORDER BY subject", s="")
        assert len(found) == (0 if nothing else 2)
        assert found.dtypes.astype(str).to_dict() == {
            "subject": "str",
            "n": "int64",
            "f": "float64",
            "t": "datetime64[s, UTC]",
            "d": "datetime64[s]",
            "a": "object",
            "h": "datetime64[s, UTC]",
        }
    found = store.query(select, s="")
    assert found["h"].tolist() == [pd.Timestamp(2026, 11, 24, 1, tz="UTC")] * 2


@ONE_STORE
@given(text=TEXTS)
def test_text_stays_text(store: RowStore, text: str) -> None:
    found = store.query("SELECT :text AS a, :other AS b", text=text, other="1")
    assert found.to_dict("records") == [{"a": text, "b": "1"}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-3, -3),
        (2.5, 2.5),
        (True, 1),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), pd.Timestamp("2026-01-02T03:04:05Z")),
        (date(2026, 1, 2), pd.Timestamp("2026-01-02")),
    ],
)
def test_values_stay_what_they_are(store: RowStore, value: Value, expected: object) -> None:
    assert store.query("SELECT :value AS v", value=value)["v"].tolist() == [expected]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_is_no_value_is_refused(store: RowStore, value: Value) -> None:
    with pytest.raises(ValueError, match="is no"):
        store.query("SELECT :value AS v", value=value)


@ONE_STORE
@given(
    text=TEXTS,
    number=st.integers(-(2**80), 2**80),
    time=st.datetimes(timezones=st.just(UTC)),
    letter=st.integers(-(2**70), 2**70),
)
def test_no_message_is_too_strange_to_be_stored(
    store: RowStore, text: str, number: int, time: datetime, letter: int
) -> None:
    strange = event.EXAMPLES[0]
    strange = msgspec.structs.replace(
        strange, account=text, sender=text, nrcpt=number, size=number, count=number, time=time
    )
    sink = Sink(store)
    sink.add(EventFrame(text, letter, [strange]))
    sink.flush()
    decision = msgspec.structs.replace(
        enforcement.EXAMPLES[0],
        subject=text or "x",
        reason=text,
        issued_at=time,
        expires_at=time,
        parameters={text: number % 2**60},
    )
    store.insert("decisions", decision_columns([decision]))
    dead = msgspec.structs.replace(dead_letter.EXAMPLES[0], raw=text, time=time, offset=letter, index=letter)
    store.insert("dead_letters", dead_letter_columns([dead]))
    found = store.query("SELECT count() AS n FROM events WHERE account = :a AND source = :a", a=text)
    assert found["n"][0] >= 1


def test_mistakes_are_told_and_the_store_goes_on(store: RowStore) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        store.query("SELECT * FROM nowhere")
    with pytest.raises(StoreError):
        store.execute("CREATE NONSENSE")
    with pytest.raises(StoreError):
        store.insert("nowhere", {"a": [1]})
    assert store.query("SELECT 1 AS one")["one"].tolist() == [1]


def test_frames_are_stored_once_whatever_is_repeated(store: RowStore) -> None:
    first, second = (EventFrame("maillog-0", n, events(*[AT] * 5)) for n in (1, 2))
    other = EventFrame("authlog-0", 1, events(AT, kind="other"))
    for frames in ([first, first], [first, second, other], [other, second, first]):
        for sink in (Sink(store), Sink(store)):
            for frame in frames:
                sink.add(frame)
            sink.flush()
    assert numbers(store) == (11, 11, 20)


def test_events_come_back_as_the_frames_that_they_were(store: RowStore) -> None:
    """Each event once, in slices of whole minutes: those that count, and the first one of each frame."""
    minute, second = timedelta(minutes=1), timedelta(seconds=1)
    frames = [EventFrame("maillog-0", n, events(*[AT + n * minute + s * second for s in range(5)])) for n in range(6)]
    beside = EventFrame("maillog-0", 6, events(AT, kind="connect") + events(AT, kind="delivery"))
    for repeated in (frames, [*frames[3:], beside]):
        sink = Sink(store)
        for frame in repeated:
            sink.add(frame)
        sink.flush()
    start = AT.timestamp() // 60 * 60
    parts = slices(store, 0.0, math.inf, size=12)
    assert [(part.since, part.until, part.events) for part in parts] == [
        (start + 60 * since, start + 60 * until, number)
        for since, until, number in ((0, 2, 10), (2, 4, 10), (4, 6, 10))
    ]
    found = [[(e.kind, e.time) for e in frame] for part in parts for frame in frames_of(rows_of(store, part))]
    expected = [[(e.kind, e.time) for e in frame.events] for frame in frames]
    assert found == [*expected[:2], [("connect", AT)], *expected[2:]]
    assert [part.events for part in slices(store, start + 61, start + 180)] == [10]
    assert slices(store, start + 3600, math.inf) == []


def test_what_a_server_had_half_stored_when_it_died_is_stored_once(store: RowStore) -> None:
    frame = EventFrame("maillog-0", 1, events(*[AT] * 5))
    store.insert("events", event_columns([("maillog-0", 1, frame.events)]))
    store.execute("ALTER TABLE rates_per_minute DROP PARTITION 202611")  # it died before it had written the rates
    sink = Sink(store)
    sink.add(frame)
    sink.flush()
    assert numbers(store) == (5, 5, 10)


def test_a_failed_flush_keeps_everything(store: RowStore) -> None:
    sink = Sink(store)
    for message in (EventFrame("maillog-0", 1, events(AT)), *enforcement.EXAMPLES, *dead_letter.EXAMPLES):
        sink.add(message)
    store.execute("DROP TABLE dead_letters")
    with pytest.raises(StoreError):
        sink.flush()
    apply_ddl(store)
    sink.flush()
    assert sink.waiting == 0
    assert numbers(store) == (1, 1, 2)
    for table, rows in (("decisions", 2), ("dead_letters", 1)):
        assert store.query(f"SELECT count() AS n FROM {table} FINAL")["n"].tolist() == [rows]


def test_what_was_stored_twice_when_a_server_died_becomes_one(store: RowStore) -> None:
    frame = EventFrame("maillog-0", 1, events(*[AT] * 5))
    for _ in range(2):  # written again after an insert that was cut off, and then it died before it had merged them
        store.insert("events", event_columns([("maillog-0", 1, frame.events)]))
    sink = Sink(store)
    sink.add(frame)
    assert sink.flush().repeated == 5
    assert numbers(store) == (5, 5, 10)


def test_rows_made_elsewhere_are_written_as_frames_are(store: RowStore) -> None:
    frames = [EventFrame("file:1", n, events(*[AT + n * timedelta(days=20)] * 5)) for n in range(4)]
    sink = Sink(store)
    sink.add(frames[0])
    sink.flush()
    store.insert("events", event_columns([("file:1", 1, frames[1].events[:2])]))
    store.execute("ALTER TABLE rates_per_minute DROP PARTITION 202612")  # a load that was killed
    known = known_frames(store, ["file:1"])
    assert known == {("file:1", 0): 5, ("file:1", 1): 0}
    rows = unstored(frames, known)
    assert (rows.number, rows.months) == (15, {"202612"})
    sink.add(rows)
    assert sink.waiting == 15
    assert sink.flush().rows["events"] == 15
    assert numbers(store) == (20, 20, 40)
    assert known_frames(store, ["file:1", "file:2"]) == {("file:1", n): 5 for n in range(4)}


def test_a_failed_flush_writes_rows_made_elsewhere_once(store: RowStore) -> None:
    frames = [EventFrame("file:1", n, events(*[AT + n * timedelta(days=20)] * 5)) for n in range(4)]
    sink = Sink(store)
    sink.add(unstored(frames, {}))
    sink.add(dead_letter.EXAMPLES[0])
    store.execute("DROP TABLE dead_letters")
    with pytest.raises(StoreError):
        sink.flush()
    apply_ddl(store)
    sink.flush()
    assert numbers(store) == (20, 20, 40)


def test_rows_of_many_months_are_taken(store: RowStore) -> None:
    times = [datetime(1970 + n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in range(0, 700)]
    sink = Sink(store)
    sink.add(EventFrame("mail.log", 0, events(*times)))
    sink.flush()
    assert numbers(store) == (700, 700, 1400)


def test_retention_drops_whole_months(store: RowStore) -> None:
    months = [datetime(2026, month, 28, tzinfo=UTC) for month in (3, 4, 5)]
    sink = Sink(store)
    sink.add(EventFrame("mail.log", 0, events(*months)))
    sink.flush()
    assert drop_before(store, date(2026, 5, 20)) == [
        *(f"{table}/{month}" for table in ("events", "rates_per_minute") for month in (202603, 202604))
    ]
    assert numbers(store) == (1, 1, 2)
    assert drop_before(store, date(2026, 5, 20)) == []


def test_a_folder_is_open_once(tmp_path: Path) -> None:
    with ChdbStore(tmp_path / "one"), pytest.raises(StoreUnavailable, match="cannot be opened"):
        ChdbStore(tmp_path / "two")
    with ChdbStore(tmp_path / "two") as second:
        assert second.query("SELECT 1 AS a")["a"].tolist() == [1]


def test_no_server_is_told_in_one_line() -> None:
    address = f"127.0.0.1:{free_port()}"
    with ClickHouse(address) as store, pytest.raises(StoreUnavailable, match=f"{address} does not answer"):
        store.query("SELECT 1")


@pytest.mark.parametrize("address", ["", "localhost", "http://localhost:8123", "host:99999", "clickhouse://", ":9000"])
def test_impossible_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        ClickHouse(address)


def test_passwords_are_not_told() -> None:
    with (
        ClickHouse(f"clickhouse://me:secret@127.0.0.1:{free_port()}/base") as store,
        pytest.raises(StoreUnavailable) as raised,
    ):
        store.query("SELECT 1")
    assert "secret" not in str(raised.value)


def test_a_server_that_comes_back_is_used_again(
    fresh_clickhouse: ClickHouseServer, eventually: Callable[..., None]
) -> None:
    with ClickHouse(fresh_clickhouse.address) as store:
        apply_ddl(store)
        store.insert("events", EXAMPLES["events"])
        fresh_clickhouse.kill()
        with pytest.raises(StoreUnavailable):
            store.insert("events", EXAMPLES["events"])
        fresh_clickhouse.start()
        assert store.query("SELECT count() AS n FROM events")["n"].tolist() == [len(event.EXAMPLES)]
