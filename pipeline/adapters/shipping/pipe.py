"""Lines that come through a pipe, and can be read only once: they are kept until the broker has them."""

import os
import select
from collections.abc import Sequence
from pathlib import Path

from pipeline.adapters.files.logbytes import Bytes
from pipeline.adapters.shipping.positions import Remembered
from pipeline.adapters.shipping.rotated import DoneFile
from pipeline.adapters.shipping.source import CHUNK, Piece, Place, Source

STANDARD_INPUT = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
MAX_HELD = 16 * CHUNK  # bytes of one line without an end, which is then cut
_STEP = 65_536


class PipeBytes(Bytes):
    """What came and is not acknowledged. Positions count from ``at``, which is that of the first byte to come.

    ``ended``: whoever wrote has closed it.
    """

    def __init__(self, descriptor: int, at: int = 0) -> None:
        self._descriptor = descriptor
        self._begin = at
        self._kept = bytearray()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self.identity = (0, 0)
        self.ended = False

    def fill(self, offset: int) -> None:
        """Takes what is there, without waiting: some lines after ``offset``, or as much as belongs to one."""
        while not self.ended and (unread := self.size() - offset) < MAX_HELD:
            if unread >= CHUNK and self._kept.find(b"\n", offset - self._begin) >= 0:
                return
            if not self._poll.poll(0):  # nor is there anything before anybody has opened a named pipe to write
                return
            try:
                found = os.read(self._descriptor, _STEP)
            except BlockingIOError:
                return
            if not found:
                self.ended = True
                return
            self._kept += found

    def read(self, at: int, size: int) -> bytes:
        """See ``Bytes``. Nothing of what was forgotten."""
        start = at - self._begin
        return bytes(self._kept[start : start + size]) if start >= 0 else b""

    def size(self) -> int:
        """See ``Bytes``: all that came."""
        return self._begin + len(self._kept)

    def forget(self, end: int) -> None:
        """Lets go what comes before ``end``."""
        del self._kept[: end - self._begin]
        self._begin = end

    def progress(self, at: int) -> tuple[int, int]:
        """See ``Bytes``."""
        return at, self.size()

    def linked(self) -> bool:
        """See ``Bytes``."""
        return True


class PipeSource(Source):
    """What came through a pipe is never another."""

    def replaced(self, read_to: int) -> bool:
        """See ``Source``."""
        self.size = self.content.size()
        return False

    def written_ms(self, now_ms: int) -> int | None:
        """See ``Source``: what comes through a pipe comes as it is written."""
        return None


class PipeTail:
    """``feed.Stream`` of a named pipe, or of standard input. ``follow``: a named pipe is never over."""

    def __init__(self, path: Path, follow: bool = False) -> None:
        """Raises OSError."""
        self.name = str(path)
        if self.name in STANDARD_INPUT:
            descriptor = os.dup(0)
        else:  # who reads and writes a named pipe never sees its end
            descriptor = os.open(path, (os.O_RDWR if follow else os.O_RDONLY) | os.O_NONBLOCK)
        self._content = PipeBytes(descriptor)
        self._source = PipeSource(path, self._content, os.urandom(8).hex())
        self.sources: list[Source] = [self._source]
        self.changed = False
        self.trouble: OSError | None = None
        self.lost = 0

    def over(self, final: bool) -> bool:
        """See ``feed.Stream``."""
        return self._content.ended and self._source.offset == self._content.size()

    def poll(self, now: float, final: bool = False) -> Piece | None:
        """See ``feed.Stream``."""
        source, content = self._source, self._content
        content.fill(source.offset)
        return source.lines(content.ended or content.size() - source.offset >= MAX_HELD)

    def acknowledge(self) -> None:
        """See ``feed.Stream``."""
        self._source.acknowledged = self._source.offset
        self._content.forget(self._source.offset)

    def places(self) -> list[Place]:
        """See ``feed.Stream``: nothing can be read again by another process."""
        return [Place(self._source.id, 0, 0, self._source.acknowledged, "", 0)]

    def seen(self) -> list[DoneFile] | None:
        """See ``feed.Stream``."""
        return None

    def close(self) -> None:
        """See ``feed.Stream``."""
        self._content.close()


class Unkept:
    """``feed.Keeper`` of what cannot be read again."""

    def load(self) -> Remembered | None:
        """Nothing."""
        return None

    def save(self, files: list[Place], log: dict[str, tuple[int, int]], seen: Sequence[DoneFile] | None) -> None:
        """Nowhere."""
