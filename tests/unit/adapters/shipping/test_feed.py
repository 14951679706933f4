"""What cannot be read or saved is told and counted, others go on, and it comes back when it is mended."""

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
from tests.unit.adapters.shipping.test_pipe import arrived
from tests.unit.adapters.shipping.test_tail import Disturbed, append


class Shipment:
    """Logs that are followed, one round at a time."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.logs = [folder / name for name in names]
        self.broker = Disturbed({"maillog": 2, "authlog": 2})
        self.recorder = MemoryRecorder()
        self.clock = 0.0
        self.follow = True
        self._stack = ExitStack()
        self.start()

    def start(self) -> None:
        world = World(self.broker.connect, self.broker, lambda s: s > 0, lambda: self.clock, lambda: 0, self.recorder)
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
