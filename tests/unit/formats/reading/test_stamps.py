"""Years that RFC 3164 leaves out, zones, and the other forms of time stamps."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.reading.format import Unreadable
from pipeline.formats.reading.lines import LineReader, split_frame
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event

REMOVED = "mx postfix/qmgr[1]: 4jYQJg4KFnzJB9r: removed"


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def read_time(stamp: str, reference: float, zone: str = "UTC") -> datetime:
    outcome = LineReader(ZoneInfo(zone)).read(f"{stamp} {REMOVED}", reference)
    assert isinstance(outcome, Event), outcome
    return outcome.time


@pytest.mark.parametrize(
    ("stamp", "reference", "expected"),
    [
        ("Dec 31 23:59:59", "2027-01-01T00:00:10", "2026-12-31T23:59:59"),
        ("Jan  1 00:00:01", "2026-12-31T23:59:50", "2027-01-01T00:00:01"),
        ("Jan  2 00:00:01", "2026-12-31T23:59:50", "2026-01-02T00:00:01"),
        ("Nov 25 00:00:00", "2026-11-24T00:00:00", "2026-11-25T00:00:00"),
        ("Nov 25 00:00:01", "2026-11-24T00:00:00", "2025-11-25T00:00:01"),
        ("Feb 29 12:00:00", "2026-11-24T00:00:00", "2024-02-29T12:00:00"),
        ("Feb 29 12:00:00", "2028-02-29T12:00:05", "2028-02-29T12:00:00"),
        ("Feb 29 12:00:00", "2103-06-01T00:00:00", "2096-02-29T12:00:00"),
        ("Nov 4 01:02:03", "2026-11-24T00:00:00", "2026-11-04T01:02:03"),
        ("Dec 31 23:59:60", "2027-01-01T00:00:10", "2026-12-31T23:59:59"),
    ],
)
def test_the_year_is_the_nearest_that_is_not_in_the_future(stamp: str, reference: str, expected: str) -> None:
    assert read_time(stamp, moment(reference)).replace(tzinfo=None).isoformat() == expected


@pytest.mark.parametrize(
    ("stamp", "zone", "expected"),
    [
        ("Nov 24 09:00:00", "Asia/Tokyo", "2026-11-24T00:00:00"),
        ("Jan  1 08:59:59", "Asia/Tokyo", "2025-12-31T23:59:59"),
        ("Nov 24 01:50:43", "America/New_York", "2026-11-24T06:50:43"),
        ("2026-11-24T09:00:00", "Asia/Tokyo", "2026-11-24T00:00:00"),
        ("2026-11-24 09:00:00.5", "Asia/Tokyo", "2026-11-24T00:00:00.500000"),
        ("2026-11-24T09:00:00+09:00", "UTC", "2026-11-24T00:00:00"),
        ("2026-11-24T09:00:00.123+0900", "America/New_York", "2026-11-24T00:00:00.123000"),
        ("2026-11-24T00:00:00Z", "Asia/Tokyo", "2026-11-24T00:00:00"),
        ("<22>Nov 24 09:00:00", "Asia/Tokyo", "2026-11-24T00:00:00"),
    ],
)
def test_zones(stamp: str, zone: str, expected: str) -> None:
    reference = moment("2026-12-02T00:00:00") if not stamp.startswith("Jan") else moment("2026-01-01T00:00:00")
    time = read_time(stamp, reference, zone)
    assert time.tzinfo is UTC
    assert time.replace(tzinfo=None).isoformat() == expected


def test_hosts_have_zones_of_their_own() -> None:
    reader = LineReader(ZoneInfo("Asia/Tokyo"), {"west": ZoneInfo("America/New_York")})
    fields = '{"program": "postfix/qmgr", "message": "4jYQJg4KFnzJB9r: removed", "host": "%s", "time": "%s"}'
    stamp, iso = "Nov 24 09:00:00", "2026-11-24T09:00:00"
    for _ in range(3):
        for host, expected in (("mx", "2026-11-24T00:00:00"), ("west", "2026-11-24T14:00:00")):
            for line in (f"{stamp} {host} postfix/qmgr[1]: 4jYQJg4KFnzJB9r: removed",
                         f"{iso} {host} postfix/qmgr[1]: 4jYQJg4KFnzJB9r: removed", fields % (host, iso)):  # fmt: skip
                outcome = reader.read(line, moment("2026-12-02"))
                assert isinstance(outcome, Event)
                assert (outcome.host, outcome.time.replace(tzinfo=None).isoformat()) == (host, expected)


@pytest.mark.parametrize("form", ["{:%b %d %H:%M:%S}", "{:%Y-%m-%dT%H:%M:%S}", "{:%Y-%m-%dT%H:%M:%S.5}"])
def test_the_hour_that_is_repeated_at_the_end_of_summer_time(form: str) -> None:
    """New York, 1 November 2026: 01:00 to 02:00 comes twice. A live line is never taken for one an hour off."""
    reader, start = LineReader(ZoneInfo("America/New_York")), datetime(2026, 11, 1, 4, 30, tzinfo=UTC)
    for minute in (*range(0, 150, 7), *range(0, 150, 11)):
        true = start + timedelta(minutes=minute)
        local = true.astimezone(ZoneInfo("America/New_York"))
        outcome = reader.read(f"{form.format(local)} {REMOVED}", true.timestamp() + 2)
        assert isinstance(outcome, Event)
        assert outcome.time.replace(microsecond=0) == true


def test_the_hour_that_is_left_out_at_the_start_of_summer_time() -> None:
    assert read_time("Mar  8 02:30:00", moment("2026-03-09"), "America/New_York").hour == 7
    assert read_time("2026-03-08T02:30:00", moment("2026-03-09"), "America/New_York").hour == 7


def test_a_clock_that_steps_back_and_forth() -> None:
    """Each line stands for itself: a step of one host's clock moves no other line."""
    reader = LineReader()
    seconds = (0, 60, 3600, 30, -7200, 90, 86_399)
    for offset in seconds:
        true = datetime(2026, 11, 24, 12, tzinfo=UTC) + timedelta(seconds=offset)
        outcome = reader.read(f"{true:%b %d %H:%M:%S} {REMOVED}", moment("2026-11-24T12:00:00"))
        assert isinstance(outcome, Event)
        assert outcome.time == true


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1795491435, "2026-11-24T03:37:15"),
        ("1795491435", "2026-11-24T03:37:15"),
        (1795491435.5, "2026-11-24T03:37:15.500000"),
        ("1795491435.25", "2026-11-24T03:37:15.250000"),
        (1795491435363, "2026-11-24T03:37:15.363000"),
        ("1795491435363357", "2026-11-24T03:37:15.363357"),
        (1795491435363357000, "2026-11-24T03:37:15.363357"),
        ("24-Nov-2026 03:37:15 +0000", "2026-11-24T03:37:15"),
        ("24/Nov/2026:12:37:15 +0900", "2026-11-24T03:37:15"),
        ("24-Nov-2026 12:37:15", "2026-11-24T03:37:15"),
        ("Nov 24 12:37:15", "2026-11-24T03:37:15"),
        (0, "1970-01-01T00:00:00"),
        (-1, None),
        (1e30, None),
        (True, None),
        (None, None),
        ("9" * 40, None),
        ("31-Feb-2026 03:37:15", None),
        ("", None),
    ],
)
def test_the_forms_that_shippers_write(value: object, expected: str | None) -> None:
    stamps = Stamps(ZoneInfo("Asia/Tokyo"))
    stamps.refer(moment("2026-12-01"))
    time = stamps.any(value)
    assert (time.replace(tzinfo=None).isoformat() if time else None) == expected


IMPOSSIBLE = (
    "Feb 30 00:00:00",
    "Nov 24 24:00:00",
    "Nov 24 01:60:00",
    "2026-13-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
)
UNKNOWN = (
    "",
    " ",
    "Nov",
    f"Foo 24 01:50:43 {REMOVED}",
    f"Nov 24 01:50 {REMOVED}",
    f"24 Nov 2026 {REMOVED}",
    "<22>1 - - - - - -",
)


@pytest.mark.parametrize("stamp", IMPOSSIBLE)
def test_an_impossible_date_is_unreadable(stamp: str) -> None:
    outcome = LineReader().read(f"{stamp} {REMOVED}", moment("2026-12-01"))
    assert outcome == Unreadable("syslog", "there is no such date or time")


@pytest.mark.parametrize("line", UNKNOWN)
def test_a_line_without_a_known_stamp_is_ignored(line: str) -> None:
    assert LineReader().read(line, moment("2026-12-01")) is None


stamps = st.datetimes(datetime(2023, 1, 1), datetime(2030, 1, 1)).map(lambda at: at.replace(microsecond=0))


def test_a_host_with_a_full_name_is_remembered_too() -> None:
    reader = LineReader()
    for stamp in ("Nov 24 01:50:43", "2026-11-24T01:50:43Z", "2026-11-24T01:50:43.5Z", "2026-11-24T01:50:43.6Z"):
        for _ in range(2):
            outcome = reader.read(
                f"{stamp} mx.example.org postfix/smtpd[1]: connect from a[192.0.2.1]", moment("2026-12-01")
            )
            assert isinstance(outcome, Event)
            assert (outcome.host, outcome.client_ip) == ("mx.example.org", "192.0.2.1")
    assert len(reader._heads) == 2


@given(st.lists(st.tuples(stamps, st.integers(-90_000, 40_000_000)), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_year_depends_on_the_line_and_the_reference_only(history: list[tuple[datetime, int]]) -> None:
    """One reader that sees everything in turn agrees with the definition, tried year by year."""
    reader = LineReader()
    for written, age in history:
        reference = written.replace(tzinfo=UTC).timestamp() + age
        outcome = reader.read(f"{written:%b} {written.day:2d} {written:%H:%M:%S} {REMOVED}", reference)
        latest = datetime.fromtimestamp(reference, UTC) + timedelta(days=1)
        candidates = []
        for year in range(2010, 2034):
            try:
                candidates.append(written.replace(year=year, tzinfo=UTC))
            except ValueError:
                continue
        assert isinstance(outcome, Event)
        assert outcome.time == max(at for at in candidates if at <= latest)


def test_frames_are_split_at_line_feeds_only() -> None:
    frame = "\ufeffa\r\nb\x85c\u2028d\x0be\x0cf\rg\n\n\x00\nh\x00\r\ni".encode() + b"\xff\xc3\n"
    assert split_frame(frame) == ["a", "b\x85c\u2028d\x0be\x0cf\rg", "h", "i\\xff\\xc3"]
    assert split_frame(b"") == []
    assert split_frame(b"a\n\nb\n", keep_empty=True) == ["a", "", "b"]


def test_caches_stay_small_whatever_the_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.formats.reading.lines._ROUTES", 10)
    monkeypatch.setattr("pipeline.formats.reading.lines._HEADS", 10)
    reader = LineReader()
    lines = [
        f"Nov 24 01:50:43 host{i} postfix/x{i}/smtpd[1]: connect from unknown[192.0.2.{i % 250}]" for i in range(100)
    ]
    outcomes = reader.read_lines(lines, moment("2026-12-01"))
    assert [outcome.service for outcome in outcomes if isinstance(outcome, Event)] == [f"x{i}" for i in range(100)]
    assert len(reader._heads) <= 10
    assert len(reader._routes) <= 10
