"""The zone that the shipper tells is that of its host, by name or by offset, and it arrives with each message."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pipeline.adapters.shipping.feed import World
from pipeline.adapters.shipping.hostzone import host_zone
from pipeline.adapters.shipping.pipe import Unkept
from pipeline.adapters.shipping.shipper import Options, Shipper
from pipeline.adapters.shipping.tail import Tail
from pipeline.metrics import MemoryRecorder
from tests.unit.adapters.shipping.test_tail import Disturbed

SUMMER, WINTER = (int(datetime(2026, month, 1, tzinfo=UTC).timestamp() * 1000) for month in (7, 12))
TZIF = {"Europe/Paris": b"TZif2 paris", "Asia/Tokyo": b"TZif2 tokyo"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host's files, with two zones."""
    for name, content in TZIF.items():
        path = tmp_path / "usr/share/zoneinfo" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    (tmp_path / "etc").mkdir()
    return tmp_path


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the C library takes for this process's zone."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("Asia/Tokyo", "Asia/Tokyo"),
        (":Europe/Paris", "Europe/Paris"),
        (":/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
        ("UTC", "UTC"),
    ],
)
def test_the_variable_goes_first(root: Path, variable: str, told: str) -> None:
    (root / "etc/localtime").symlink_to("/usr/share/zoneinfo/America/New_York")
    assert host_zone({"TZ": variable}, root)(SUMMER) == told


@pytest.mark.parametrize("target", ["/usr/share/zoneinfo/Asia/Tokyo", "../usr/share/zoneinfo/Asia/Tokyo"])
def test_a_link_tells_the_name(root: Path, target: str) -> None:
    (root / "etc/localtime").symlink_to(target)
    assert host_zone({}, root)(SUMMER) == "Asia/Tokyo"


def test_of_a_copy_the_name_may_be_known(root: Path) -> None:
    (root / "etc/localtime").write_bytes(TZIF["Europe/Paris"])
    (root / "etc/timezone").write_text("Europe/Paris\n")
    assert host_zone({}, root)(SUMMER) == "Europe/Paris"


@pytest.mark.usefixtures("in_new_york")
@pytest.mark.parametrize(
    ("variable", "name"), [("", "Asia/Tokyo"), ("", "Europe/Nowhere"), ("", None), ("EST5EDT,M3.2.0,M11.1.0", None)]
)
def test_else_the_offset_of_the_time_is_told(root: Path, variable: str, name: str | None) -> None:
    """A name that is not that of the copy, as after a change by hand, says nothing."""
    (root / "etc/localtime").write_bytes(TZIF["Europe/Paris"])
    if name is not None:
        (root / "etc/timezone").write_text(name)
    zone = host_zone({"TZ": variable} if variable else {}, root)
    assert (zone(SUMMER), zone(WINTER)) == ("-04:00", "-05:00")
    assert datetime.fromtimestamp(SUMMER / 1000, ZoneInfo("America/New_York")).isoformat()[-6:] == zone(SUMMER)


@pytest.mark.parametrize(("told", "sent"), [("Asia/Tokyo", b"Asia/Tokyo"), ("", None)])
def test_each_message_tells_it(tmp_path: Path, told: str, sent: bytes | None) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(b"one\ntwo\nthree\n")
    broker, asked = Disturbed({"maillog": 1}), list[int]()

    def zone(at_ms: int) -> str:
        asked.append(at_ms)
        return told

    world = World(broker.connect, broker, lambda _: False, lambda: 0.0, lambda: SUMMER, MemoryRecorder(), zone=zone)
    tail = Tail(log)
    Shipper([(tail, Unkept())], Options("mx", "maillog", batch_lines=1), world).run()
    tail.close()
    (records,) = broker.partitions["maillog"]
    assert [dict(record.headers).get("zone") for record in records] == [sent] * 3
    assert set(asked) == {SUMMER}
