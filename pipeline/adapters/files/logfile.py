"""Log files as frames: plain or gz."""

import gzip
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from pipeline.replay import LogFrame

# Bytes; frames end with whole lines. Never to be changed: the number of a frame names its rows in stores that exist,
# and a frame's size decides what is combined into one tally.
FRAME = 1 << 14
MAX_LINE = 1 << 20  # bytes; a longer line is cut into pieces of that length


def open_log(path: Path) -> BinaryIO:
    """Opens plain or gz (told by its first bytes, not by its name). ``-`` is standard input. Raises OSError."""
    if str(path) == "-":
        return sys.stdin.buffer
    raw = path.open("rb")
    if raw.peek(2)[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]  # reads like one
    return raw


def frames(path: Path, source: str = "", now: float = 0.0, size: int = FRAME) -> Iterator[LogFrame]:
    """A file's lines in frames of about ``size`` bytes. ``source``: what it is called, by its path if not given;
    ``now``: the reference for standard input, for files it is the time of their last change.

    Raises OSError, also where compressed data is damaged or cut off, after all lines that can be read.
    """
    name = str(path)
    source = source or name
    reference = now if name == "-" else os.stat(path).st_mtime
    with open_log(path) as file:
        under = getattr(file, "fileobj", None) or file
        rest = b""
        while chunk := _read(file, size, name):
            head, found, tail = chunk.rpartition(b"\n")
            if not found and len(rest) + len(chunk) < MAX_LINE:
                rest += chunk
                continue
            position = under.tell() if under is not sys.stdin.buffer else 0
            yield LogFrame(source, rest + head if found else rest + chunk, reference, position)
            rest = tail if found else b""
        if rest:
            yield LogFrame(source, rest, reference, under.tell() if under is not sys.stdin.buffer else 0)


def _read(file: BinaryIO, size: int, name: str) -> bytes:
    try:
        chunk: bytes = getattr(file, "read1", file.read)(size)  # gives what there is before it fails
        return chunk
    except (EOFError, zlib.error) as error:
        raise OSError(f"{name}: damaged gzip data: {error}") from None


def named_frames(files: Sequence[Path], now: float = 0.0) -> list[tuple[str, Iterator[LogFrame]]]:
    """(base name, frames) of each file, for ``Replay.run``. ``now``: as ``frames`` has it."""
    return [(path.name, frames(path, now=now)) for path in files]
