"""What cannot be read or saved is told and counted, others go on, and it comes back when it is mended."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.adapters.shipping.feed import World
from pipeline.adapters.shipping.positions import Positions, StateError
from pipeline.adapters.shipping.shipper import Options, Shipper
from pipeline.adapters.shipping.tail import AGAIN_SECONDS, MAX_MISSED, Tail
from pipeline.metrics import MemoryRecorder
from pipeline.partition import arrival_of
from tests.unit.adapters.shipping.test_pipe import arrived
from tests.unit.adapters.shipping.test_tail import Disturbed, append


class Shipment:
    """Logs that are followed, one round at a time."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.logs = [folder / name for name in names]
        self.broker = Disturbed({"maillog": 2, "authlog": 2})
        self.recorder = MemoryRecorder()
        self.clock, self.now_ms = 0.0, time.time_ns() // 1_000_000
        self.follow = True
        self._stack = ExitStack()
        self.start()

    def start(self) -> None:
        world = World(
            self.broker.connect, self.broker, lambda s: s > 0, lambda: self.clock, lambda: self.now_ms, self.recorder
        )
        streams = []
        for log in self.logs:
            positions = self._stack.enter_context(Positions(self.folder / "state", log))
            known = positions.load()
            places, seen = (known.files, known.seen) if known else (None, None)
            tail = Tail(log, places, seen=seen, folders=[self.folder / "olddir"], others=self.logs)
            self._stack.callback(tail.close)
            streams.append((tail, positions))
        self.shipper = Shipper(streams, Options("mx", follow=self.follow), world)

    def stop(self) -> None:
        self._stack.close()

    def ship(self) -> list[bytes]:
        self.clock += 2 * AGAIN_SECONDS
        self.shipper.run()
        return sorted(arrived(self.broker))

    def last(self, name: str, number: int = 0) -> float:
        return self.recorder.values(f"sekimori_ship_{name}", str(self.logs[number]))[-1]


@pytest.fixture
def shipment(tmp_path: Path) -> Iterator[Shipment]:
    made = Shipment(tmp_path, "mail.log", "other.log")
    yield made
    made.stop()


def test_a_folder_in_the_files_place(shipment: Shipment) -> None:
    log, other = shipment.logs
    append(log, b"one\n")
    append(other, b"1\n")
    assert shipment.ship() == [b"1", b"one"]
    append(log, b"two\n")
    log.rename(log.with_name("mail.log.1"))
    log.mkdir()
    append(other, b"2\n")
    with capture_logs() as said:
        assert shipment.ship() == [b"1", b"2", b"one", b"two"]
        shipment.ship()
    assert [entry["event"] for entry in said] == ["file_unreadable"]
    assert "no regular file" in said[0]["error"]
    assert shipment.last("unreadable") == 1
    assert shipment.last("unreadable", 1) == 0
    assert list(shipment.shipper.health()["unreadable"]) == [str(log)]  # type: ignore[call-overload]
    log.rmdir()
    append(log, b"three\n")
    with capture_logs() as said:
        assert shipment.ship() == [b"1", b"2", b"one", b"three", b"two"]
    assert [entry["event"] for entry in said] == ["file_readable_again"]
    assert shipment.last("unreadable") == 0


@pytest.mark.parametrize("broken", ["folder", "full"])
def test_a_state_that_cannot_be_saved(shipment: Shipment, broken: str) -> None:
    log, other = shipment.logs
    append(log, b"one\n")
    append(other, b"1\n")
    shipment.ship()
    half = next((shipment.folder / "state").glob("mail.log-*.json")).with_suffix(".part")
    if broken == "folder":
        half.mkdir()
    else:
        half.symlink_to("/dev/full")
    append(log, b"two\n")
    append(other, b"2\n")
    with capture_logs() as said:
        assert shipment.ship() == [b"1", b"2", b"one", b"two"]
    assert said[0]["event"] == "positions_not_saved"
    if broken == "full":  # the half of a file is not left on a full disk, and now there is room
        assert not half.is_symlink()
        assert [entry["event"] for entry in said] == ["positions_not_saved", "positions_saved_again"]
        return
    log.rename(log.with_name("mail.log.1"))
    append(log, b"three\n")
    append(other, b"3\n")
    assert shipment.ship() == [b"1", b"2", b"3", b"one", b"two"]
    assert shipment.last("state_age_seconds") > 0
    assert shipment.last("state_age_seconds", 1) == 0
    half.rmdir()
    assert shipment.ship() == [b"1", b"2", b"3", b"one", b"three", b"two"]
    assert shipment.last("state_age_seconds") == 0
    assert shipment.last("lag_bytes") == 0
    shipment.stop()
    shipment.start()
    assert shipment.ship() == [b"1", b"2", b"3", b"one", b"three", b"two"]


def test_without_follow_it_is_an_error(tmp_path: Path) -> None:
    append(tmp_path / "mail.log", b"one\n")
    shipment = Shipment(tmp_path, "mail.log")
    shipment.ship()
    shipment.stop()
    next((tmp_path / "state").glob("*.json")).with_suffix(".part").mkdir()
    shipment.follow = False
    shipment.start()
    with pytest.raises(StateError, match="cannot save positions"):
        shipment.ship()
    shipment.stop()


def test_what_is_not_found_is_told_and_looked_for(shipment: Shipment) -> None:
    log = shipment.logs[0]
    append(log, b"one\n")
    shipment.ship()
    shipment.stop()
    append(log, b"two\nthree\n")
    away = shipment.folder.parent / f"{shipment.folder.name}-away"
    log.rename(away)
    append(log, b"four\n")
    with capture_logs() as said:
        shipment.start()
        assert shipment.ship() == [b"four", b"one"]
    assert [(entry["event"], entry["read_to"]) for entry in said] == [("file_gone", 4)]
    assert "--olddir" in said[0]["note"]
    assert sum(shipment.recorder.values("sekimori_ship_lost_files_total", str(log))) == 1
    (shipment.folder / "olddir").mkdir()
    away.rename(shipment.folder / "olddir" / "whatever")
    with capture_logs() as said:
        assert shipment.ship() == [b"four", b"one", b"three", b"two"]
    assert [entry["event"] for entry in said] == ["file_found"]


def test_what_is_never_found_is_given_up(shipment: Shipment) -> None:
    append(shipment.logs[0], b"one\n")
    shipment.ship()
    shipment.logs[0].unlink()
    events = []
    for _ in range(MAX_MISSED + 1):
        shipment.stop()
        with capture_logs() as said:
            shipment.start()
            shipment.ship()
        events.append([entry["event"] for entry in said])
    assert events == [["file_gone"]] * (MAX_MISSED - 1) + [["file_given_up"], []]


@pytest.mark.parametrize(("hours", "told"), [(0, False), (0.9, False), (1.1, True), (24 * 400, True)])
def test_lines_of_an_old_file_say_when_they_were_written(shipment: Shipment, hours: float, told: bool) -> None:
    """As replay takes it: a stamp without a year gets the year of then, not of now."""
    log = shipment.logs[0]
    written = shipment.now_ms / 1000 - hours * 3600
    append(log, b"Nov 24 01:50:43 mx postfix/pickup[1]: 4F0000: uid=0 from=<root>\n")
    os.utime(log, (written, written))
    shipment.ship()
    (record,) = (r for n in range(2) for r in shipment.broker.read("maillog", n, 0))
    reference, live = arrival_of(record)
    assert live == (not told)
    assert abs(reference - (written if told else shipment.now_ms / 1000)) < 0.01
