"""Log files as frames of whole lines."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.adapters.files.logfile import frames
from pipeline.adapters.files.packing import packing_of
from pipeline.replay import LogFrame


def lines_of(made: Iterator[LogFrame]) -> list[bytes]:
    return [line for f in made for line in f.content.split(b"\n")]


@settings(max_examples=40)
@given(
    st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")), max_size=20),
    st.integers(1, 64),
)
def test_frames_hold_all_lines_whole(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int) -> None:
    assume(packing_of(b"\n".join(lines)) is None)
    path = tmp_path_factory.getbasetemp() / "lines.log"
    for end in (b"", b"\n"):
        for write in (lambda data: data, gzip.compress):
            path.write_bytes(write(b"\n".join(lines) + end))
            assert [line for line in lines_of(frames(path, size=size)) if line] == [line for line in lines if line]


def test_gz_is_told_by_content_and_damage_is_said_after_what_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    content = b"".join(b"%d\n" % n for n in range(100_000))
    path.write_bytes(gzip.compress(content)[:-30])
    read: list[bytes] = []

    def read_all() -> None:
        for made in frames(path):
            read.extend(made.content.split(b"\n"))

    with pytest.raises(OSError, match=r"mail\.log: damaged gzip data: "):
        read_all()
    assert read[:3] == [b"0", b"1", b"2"]
    assert len(read) > 50_000


def test_a_line_without_an_end_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"x" * 3_000_000)
    made = [f.content for f in frames(path)]
    assert b"".join(made) == b"x" * 3_000_000
    assert max(map(len, made)) <= 1 << 21
