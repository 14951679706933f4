"""Log files as frames: plain or packed (``packing``)."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pipeline.adapters.files.packing import MAGIC, Unpacked, packing_of
from pipeline.replay import LogFrame

# Bytes; frames end with whole lines. Never to be changed: the number of a frame names its rows in stores that exist,
# and a frame's size decides what is combined into one tally.
FRAME = 1 << 14
MAX_LINE = 1 << 20  # bytes; a longer line is cut into pieces of that length


class Content(Protocol):
    """The content of a log, read forward. Both methods raise OSError."""

    def read(self, size: int, /) -> bytes:
        """``size`` bytes; fewer only at the end."""

    def read1(self, size: int, /) -> bytes:
        """Some bytes, ``size`` at most; none only at the end."""


class OpenLog(NamedTuple):
    """``raw``: the same as it lies on the disk, or standard input."""

    content: Content
    raw: io.BufferedReader

    def position(self) -> int:
        """Bytes read of what lies on the disk; 0 of what cannot tell."""
        return self.raw.tell() if self.raw.seekable() else 0


@contextmanager
def open_log(path: Path) -> Iterator[OpenLog]:
    """Opens a log, plain or packed (told by its first bytes, not by its name). ``-`` is standard input. Raises
    OSError."""
    given: Any = sys.stdin.buffer if str(path) == "-" else None
    raw = path.open("rb") if given is None else given if hasattr(given, "peek") else io.BufferedReader(given)
    try:
        packing = packing_of(raw.peek(MAGIC))
        yield OpenLog(raw if packing is None else Unpacked(packing, raw, str(path)), raw)
    finally:
        if given is None:
            raw.close()


def frames(path: Path, source: str = "", now: float = 0.0, size: int = FRAME) -> Iterator[LogFrame]:
    """A file's lines in frames of about ``size`` bytes. ``source``: what it is called, by its path if not given;
    ``now``: the reference for standard input, for files it is the time of their last change.

    Raises OSError, also where packed data is damaged or cut off, after all lines that can be read.
    """
    name = str(path)
    source = source or name
    reference = now if name == "-" else os.stat(path).st_mtime
    with open_log(path) as log:
        rest = b""
        while chunk := log.content.read1(size):  # gives what there is before it fails
            head, found, tail = chunk.rpartition(b"\n")
            if not found and len(rest) + len(chunk) < MAX_LINE:
                rest += chunk
                continue
            yield LogFrame(source, rest + head if found else rest + chunk, reference, log.position())
            rest = tail if found else b""
        if rest:
            yield LogFrame(source, rest, reference, log.position())


def named_frames(files: Sequence[Path], now: float = 0.0) -> list[tuple[str, Iterator[LogFrame]]]:
    """(base name, frames) of each file, for ``Replay.run``. ``now``: as ``frames`` has it."""
    return [(path.name, frames(path, now=now)) for path in files]
