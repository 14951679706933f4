"""What a shipper remembers of a file: ours alone, whole, and readable by later versions."""

import json
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.adapters.kafka.memory import MemoryLog
from pipeline.adapters.shipping.feed import World
from pipeline.adapters.shipping.positions import NEWEST, Positions, StateError
from pipeline.adapters.shipping.shipper import Options, Shipper
from pipeline.adapters.shipping.tail import Tail
from pipeline.metrics import MemoryRecorder
from tests.support.paths import RECORDED

BEFORE_VERSIONS = Path(__file__).parent / "positions-1.json"
"""Saved when the first 50 lines of the recorded log were shipped, by a version that told none."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    path.write_bytes(b"".join((RECORDED / "mail.log").read_bytes().splitlines(keepends=True)[:80]))
    return path


def shipped(log: Path, positions: Positions) -> list[bytes]:
    """The lines that a shipper sends now."""
    broker = MemoryLog({"maillog": 4, "authlog": 4})
    world = World(lambda: nullcontext(broker), broker, lambda _: True, lambda: 0.0, lambda: 0, MemoryRecorder())
    known = positions.load()
    tail = Tail(log, known.files if known else None, seen=known.seen if known else None)
    shipper = Shipper([(tail, positions)], Options("mx"), world)
    shipper.run()
    shipper.close()
    values = [record.value or b"" for of in broker.partitions.values() for part in of for record in part]
    return [line for value in values for line in value.split(b"\n")]


def test_positions_are_private_whole_and_ours_alone(tmp_path: Path, log: Path) -> None:
    with Positions(tmp_path / "state", log) as positions:
        assert positions.load() is None
        positions.save([], {"maillog": (2, 17)})
        known = positions.load()
        assert known is not None
        assert known.log == {"maillog": (2, 17)}
        assert positions.file.stat().st_mode & 0o777 == 0o600
        with pytest.raises(StateError, match="by another process already"):
            Positions(tmp_path / "state", log)
        positions.file.write_bytes(b'{"pa')
        with pytest.raises(StateError, match="damaged"):
            positions.load()
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="--state"):
        Positions(tmp_path / "file" / "state", log)


def test_positions_without_a_version_are_gone_on_from(tmp_path: Path, log: Path) -> None:
    old = json.loads(BEFORE_VERSIONS.read_bytes())
    assert "version" not in old
    status = log.stat()
    old["files"][0] |= {"device": status.st_dev, "inode": status.st_ino}  # as if it were the very file
    lines = log.read_bytes().splitlines()
    with Positions(tmp_path / "state", log) as positions:
        positions.file.write_text(json.dumps(old), encoding="utf-8")
        assert shipped(log, positions) == lines[50:]
        assert json.loads(positions.file.read_bytes())["version"] == NEWEST
        assert shipped(log, positions) == []
        positions.forget()
        assert shipped(log, positions) == lines


@pytest.mark.parametrize("version", [NEWEST + 1, 0])
def test_positions_of_another_version_are_refused_whatever_else_is_in_them(
    tmp_path: Path, log: Path, version: int
) -> None:
    with Positions(tmp_path / "state", log) as positions:
        positions.file.write_text(json.dumps({"version": version, "places": "elsewhere"}), encoding="utf-8")
        with pytest.raises(StateError, match=rf"{positions.file.name} is of version {version}.*delete it if"):
            positions.load()


WHOLE = BEFORE_VERSIONS.read_bytes().rstrip()
DAMAGED = (b'{"path": "\xff"}', b"{}", b"[]", b"null", b'{"x":' + b"[" * 100_000, b'{"version": "1"}', b"")


@pytest.mark.parametrize(
    "content", [*DAMAGED, *(WHOLE[:length] for length in range(1, len(WHOLE), 7))], ids=lambda it: f"{len(it)} bytes"
)
def test_what_is_damaged_is_refused_and_named(tmp_path: Path, log: Path, content: bytes) -> None:
    with Positions(tmp_path / "state", log) as positions:
        positions.file.write_bytes(content)
        with pytest.raises(StateError, match=rf"{positions.file.name} is damaged .*delete it if that is what you want"):
            positions.load()


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.text().map(str.encode))
def test_whatever_is_in_the_file_it_is_loaded_or_refused(tmp_path: Path, log: Path, content: bytes) -> None:
    with Positions(tmp_path / "state", log) as positions:
        positions.file.write_bytes(content)
        with suppress(StateError):
            assert positions.load() is not None


def test_positions_that_cannot_be_read_are_said_to_be_so(tmp_path: Path, log: Path) -> None:
    with Positions(tmp_path / "state", log) as positions:
        positions.file.mkdir()
        with pytest.raises(StateError, match=r"cannot read positions in .* \(Is a directory\)"):
            positions.load()
