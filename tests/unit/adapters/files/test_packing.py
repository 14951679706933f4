"""Packed logs: all that is in them is read, and what is damaged or cut off is said."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.files.logbytes import open_bytes
from pipeline.adapters.files.logfile import frames, open_log
from pipeline.adapters.files.packing import PACKINGS, Unpacked, packing_of

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zst": zstandard.compress,
}


def test_each_packing_is_tried() -> None:
    assert [packing.name for packing in PACKINGS] == list(PACK)


@given(st.sampled_from(list(PACK)), st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.integers(1, 50))
def test_members_one_after_another_are_one_content(name: str, members: list[bytes], size: int) -> None:
    packed = b"".join(map(PACK[name], members))
    packing = packing_of(packed)
    assert packing is not None
    assert packing.name == name
    content = Unpacked(packing, io.BytesIO(packed), "log")
    read = []
    while chunk := content.read1(size):
        assert len(chunk) <= size
        read.append(chunk)
    assert b"".join(read) == b"".join(members)


@pytest.mark.parametrize("text", [b"", b"BZ", b"BZhuge line of a log", b"Nov 24 01:50:43 mx x: y\n", b"\xfd7zX"])
def test_what_only_looks_like_it_is_plain(text: bytes) -> None:
    assert packing_of(text) is None


@pytest.mark.parametrize("name", PACK)
def test_damage_is_said_after_what_can_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mail.log"
    content = b"".join(b"%d %x\n" % (n, n * n * 7919) for n in range(80_000))
    path.write_bytes(PACK[name](content)[:-30])
    read: list[bytes] = []

    def read_all() -> None:
        read.extend(frame.content for frame in frames(path))

    with pytest.raises(OSError, match=rf"mail\.log: damaged {name} data: "):
        read_all()
    assert read
    assert content.startswith(b"\n".join(read))
    broken = bytearray(PACK[name](content))
    broken[len(broken) // 2 :: 7] = bytes(len(broken[len(broken) // 2 :: 7]))
    path.write_bytes(broken)
    with pytest.raises(OSError, match=r"mail\.log: damaged"):
        read_all()


@pytest.mark.parametrize("name", PACK)
def test_any_position_can_be_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mail.log"
    content = b"".join(b"line %d\n" % n for n in range(10_000))
    path.write_bytes(PACK[name](content))
    with open_log(path) as log:
        assert log.content.read(len(content) + 1) == content
    opened = open_bytes(path)
    for at, size in ((0, 256), (50_000, 7), (10, 256), (len(content) - 3, 9), (len(content), 1), (len(content) + 9, 1)):
        assert opened.read(at, size) == content[at : at + size]
    assert opened.size() == len(content)
    assert opened.read(5, 20) == content[5:25]
    opened.close()
