"""The bytes of a log file, plain or packed (``packing``), at any position."""

import hashlib
import os
import stat
from pathlib import Path

from pipeline.adapters.files.packing import MAGIC, Packing, Unpacked, packing_of

HEAD = 256
_STEP = 1_048_576


def digest(head: bytes) -> str:
    """A fingerprint of a file's first bytes."""
    return hashlib.blake2b(head, digest_size=16).hexdigest()


class Bytes:
    """An open file. Positions are of its content. All methods raise OSError."""

    packed = False

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        found = os.fstat(descriptor)
        self.identity = (found.st_dev, found.st_ino)

    def read(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from position ``at``; fewer only at the end."""
        return os.pread(self._descriptor, size, at)

    def size(self) -> int:
        """Bytes of content."""
        return os.fstat(self._descriptor).st_size

    def modified_ns(self) -> int:
        """When it was last written, nanoseconds since 1970."""
        return os.fstat(self._descriptor).st_mtime_ns

    def linked(self) -> bool:
        """Whether it still has a name somewhere."""
        return os.fstat(self._descriptor).st_nlink > 0

    def progress(self, at: int) -> tuple[int, int]:
        """(done, all) in bytes on the disk, if ``at`` is read."""
        return at, self.size()

    def close(self) -> None:
        """Closes it."""
        os.close(self._descriptor)


class PackedBytes(Bytes):
    """A packed file. Reading forward is cheap, going back further than the last read begins at the start again."""

    packed = True

    def __init__(self, descriptor: int, packing: Packing, name: str) -> None:
        super().__init__(descriptor)
        self._file = os.fdopen(descriptor, "rb")
        self._packing, self._name = packing, name
        self._kept_at = 0
        self._kept = b""
        self._size: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._file.seek(0)
        self._content = Unpacked(self._packing, self._file, self._name)
        self._at = 0  # what is read next

    def read(self, at: int, size: int) -> bytes:
        """See ``Bytes``. A file that is broken off, or is none, raises OSError."""
        kept_end = self._kept_at + len(self._kept)
        kept = self._kept[at - self._kept_at :] if self._kept_at <= at <= kept_end else b""
        if len(kept) < size:
            self._go_to(at + len(kept))
            if self._at == at + len(kept):
                kept += self._next(size - len(kept))
            self._kept_at, self._kept = at, kept
        return kept[:size]

    def _go_to(self, at: int) -> None:
        if at < self._at:
            self._begin()
        while self._at < at and self._next(min(_STEP, at - self._at)):
            pass

    def _next(self, size: int) -> bytes:
        try:
            content = self._content.read(size)
        except OSError:
            self._begin()  # it may be written still, and whole the next time
            raise
        self._at += len(content)
        return content

    def size(self) -> int:
        """See ``Bytes``; it is unpacked once for that."""
        if self._size is None:
            while self._next(_STEP):
                pass
            self._size = self._at
        return self._size

    def progress(self, at: int) -> tuple[int, int]:
        """See ``Bytes``."""
        return (self._file.tell() if at else 0), super().size()

    def close(self) -> None:
        """Closes it."""
        self._file.close()


def open_bytes(path: Path) -> Bytes:
    """Opens a log file; what is packed is told by its first bytes. Raises OSError, also for what is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        packing = packing_of(os.pread(descriptor, MAGIC, 0))
    except OSError:
        os.close(descriptor)
        raise
    return Bytes(descriptor) if packing is None else PackedBytes(descriptor, packing, str(path))
