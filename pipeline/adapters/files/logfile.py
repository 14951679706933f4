"""Log files as frames: plain or gz, several files merged by the time of their lines."""

import gzip
import heapq
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

FRAME = 1 << 16  # bytes; frames end with whole lines
MAX_LINE = 1 << 20  # bytes; a longer line is cut into pieces of that length


@dataclass(frozen=True)
class FileFrame:
    """Whole lines of a file. ``reference``: seconds since 1970, when the file was last written."""

    source: str
    reference: float
    content: bytes
    compressed_position: int


def open_log(path: Path) -> BinaryIO:
    """Opens plain or gz (told by its first bytes, not by its name). ``-`` is standard input. Raises OSError."""
    if str(path) == "-":
        return sys.stdin.buffer
    raw = path.open("rb")
    if raw.peek(2)[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]  # reads like one
    return raw


def frames(path: Path, size: int = FRAME, now: float = 0.0) -> Iterator[FileFrame]:
    """A file's lines in frames of about ``size`` bytes. ``now``: the reference for standard input.

    Raises OSError, also where compressed data is damaged or cut off, after all lines that can be read.
    """
    source = str(path)
    reference = now if source == "-" else os.stat(path).st_mtime
    with open_log(path) as file:
        under = getattr(file, "fileobj", None) or file
        rest = b""
        while chunk := _read(file, size, source):
            head, found, tail = chunk.rpartition(b"\n")
            if not found and len(rest) + len(chunk) < MAX_LINE:
                rest += chunk
                continue
            position = under.tell() if under is not sys.stdin.buffer else 0
            yield FileFrame(source, reference, rest + head if found else rest + chunk, position)
            rest = tail if found else b""
        if rest:
            yield FileFrame(source, reference, rest, under.tell() if under is not sys.stdin.buffer else 0)


def _read(file: BinaryIO, size: int, source: str) -> bytes:
    try:
        chunk: bytes = getattr(file, "read1", file.read)(size)  # gives what there is before it fails
        return chunk
    except (EOFError, zlib.error) as error:
        raise OSError(f"{source}: damaged gzip data: {error}") from None


def merged(files: list[Path], time_of: Callable[[FileFrame], float], now: float = 0.0) -> Iterator[FileFrame]:
    """Frames of several files in the order of ``time_of`` (the time of a frame's first line)."""
    if len(files) == 1:
        yield from frames(files[0], now=now)
        return
    size = FRAME >> 3  # smaller frames interleave better
    streams = (((time_of(f), n, f) for f in frames(path, size, now)) for n, path in enumerate(files))
    for _, _, frame in heapq.merge(*streams, key=lambda item: item[:2]):
        yield frame
