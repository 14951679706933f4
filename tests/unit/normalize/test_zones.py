"""The zone that a sender tells holds for stamps without one, unless a setting names the host or the topic."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.metrics import MemoryRecorder
from pipeline.networks import OurHosts
from pipeline.normalize.normalizer import MAX_ZONES, Normalizer
from pipeline.normalize.stage import NormalizeStage
from pipeline.normalize.zones import zone_of
from pipeline.partition import REFERENCE
from pipeline.ports import Record
from schemas.codec import decode_events
from schemas.topics import EVENTS

TOKYO, NEW_YORK = ZoneInfo("Asia/Tokyo"), ZoneInfo("America/New_York")
ARRIVED = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() * 1000)
UNKNOWN = "sekimori_normalize_unknown_zones_total"
LINE = "Nov 24 10:00:00 {} postfix/smtpd[1]: warning: x[198.51.100.7]: SASL PLAIN authentication failed: x"


def read(stage: NormalizeStage, told: bytes | None, line: str, offset: int = 0, key: bytes = b"mx") -> datetime:
    """The time of a line, sent with this header. It is an old one, so that no clock is held against its arrival."""
    headers = ((REFERENCE, b"%d" % ARRIVED), *(() if told is None else (("zone", told),)))
    out = stage.process(Record("maillog", 0, offset, ARRIVED, key, line.encode(), headers))
    (event,) = [event for o in out if o.topic == EVENTS.name for event in decode_events(o.value)]
    return event.time


def stage_of(
    zone: tzinfo = UTC, zones: dict[str, tzinfo] | None = None, fixed: bool = False
) -> tuple[NormalizeStage, MemoryRecorder]:
    recorder = MemoryRecorder()
    normalizer = Normalizer(OurHosts(), zone, zones=zones or {}, fixed=fixed)
    return NormalizeStage("maillog", 0, normalizer, 1, recorder, lambda: 0), recorder


@given(st.sampled_from(sorted(available_timezones() - {"localtime"})))
def test_names_of_iana(name: str) -> None:
    assert zone_of(name) == ZoneInfo(name)


@given(st.integers(-14 * 60, 14 * 60))
def test_offsets(minutes: int) -> None:
    told = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    assert zone_of(told) == timezone(timedelta(minutes=minutes))


@given(
    st.text()
    | st.sampled_from(
        ["../../etc/passwd", "/etc/localtime", "localtime", "Asia", "posix", "+25:00", "+9", "Asia/Tokyo\n", "A" * 5000]
    )
)
def test_whatever_is_told_it_is_a_zone_or_none(told: str) -> None:
    zone = zone_of(told)
    assert zone is None or told in available_timezones() or told[0] in "+-"


def test_a_zone_that_is_told_holds_for_stamps_without_one() -> None:
    stage, recorder = stage_of(NEW_YORK)
    told = [read(stage, zone, LINE.format("mx"), n) for n, zone in enumerate((b"Asia/Tokyo", None, b"+01:00"))]
    zones = (TOKYO, NEW_YORK, timezone(timedelta(hours=1)))
    assert told == [datetime(2026, 11, 24, 10, tzinfo=zone) for zone in zones]
    iso = LINE.replace("Nov 24 10:00:00", "2026-11-24T10:00:00+02:00").format("mx")
    assert read(stage, b"Asia/Tokyo", iso, 3) == datetime(2026, 11, 24, 8, tzinfo=UTC)
    assert recorder.values(UNKNOWN) == []


def test_a_setting_goes_first() -> None:
    stage, _ = stage_of(UTC, {"mx3": NEW_YORK})
    assert read(stage, b"Asia/Tokyo", LINE.format("mx3")) == datetime(2026, 11, 24, 10, tzinfo=NEW_YORK)
    assert read(stage, b"Asia/Tokyo", LINE.format("mx4"), 1) == datetime(2026, 11, 24, 10, tzinfo=TOKYO)
    of_topic, _ = stage_of(UTC, fixed=True)
    assert read(of_topic, b"Asia/Tokyo", LINE.format("mx4")) == datetime(2026, 11, 24, 10, tzinfo=UTC)


@pytest.mark.parametrize("told", [b"Mars/Olympus", b"../../../etc/passwd", b"\xff\xfe", b"+99:00"])
def test_a_zone_that_there_is_not_is_left_out_and_counted(told: bytes) -> None:
    stage, recorder = stage_of(TOKYO)
    assert read(stage, told, LINE.format("mx")) == datetime(2026, 11, 24, 10, tzinfo=TOKYO)
    assert recorder.values(UNKNOWN) == [1]


def test_a_message_without_a_key_keeps_its_zone_when_it_is_passed_on() -> None:
    first, _ = stage_of()
    headers = ((REFERENCE, b"%d" % ARRIVED), ("zone", b"Asia/Tokyo"))
    (out,) = first.process(Record("maillog", 0, 0, ARRIVED, None, LINE.format("mx").encode(), headers))
    assert out.value is not None
    second, _ = stage_of()
    passed = second.process(Record("maillog", 0, 0, ARRIVED, out.key, out.value, out.headers))
    (event,) = [event for o in passed if o.topic == EVENTS.name for event in decode_events(o.value)]
    assert event.time == datetime(2026, 11, 24, 10, tzinfo=TOKYO)


def test_however_many_zones_are_told_memory_is_bounded() -> None:
    normalizer = Normalizer(OurHosts())
    zones = [timezone(timedelta(minutes=minutes)) for minutes in range(1, 3 * MAX_ZONES)]
    readers = {id(normalizer.reader_of(zone)) for zone in zones[:MAX_ZONES]}
    assert len(readers) == MAX_ZONES
    for zone in zones:
        time = normalizer.reader_of(zone).read(LINE.format("mx"), ARRIVED / 1000)
        assert getattr(time, "time", None) == datetime(2026, 11, 24, 10, tzinfo=zone)
    assert len(normalizer._readers) <= MAX_ZONES
