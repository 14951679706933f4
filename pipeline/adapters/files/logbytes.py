"""The bytes of a log file, plain or gz, at any position."""

import gzip
import hashlib
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HEAD = 256
_STEP = 1_048_576
_GZIP = b"\x1f\x8b"


def digest(head: bytes) -> str:
    """A fingerprint of a file's first bytes."""
    return hashlib.blake2b(head, digest_size=16).hexdigest()


class Bytes:
    """An open file. Positions are of its content. All methods raise OSError."""

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

    def progress(self, at: int) -> tuple[int, int]:
        """(done, all) in bytes on the disk, if ``at`` is read."""
        return at, self.size()

    def close(self) -> None:
        """Closes it."""
        os.close(self._descriptor)


class PackedBytes(Bytes):
    """A gz file. Reading forward is cheap, going back further than the last read begins at the start again."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._file = os.fdopen(descriptor, "rb")
        self._content = gzip.GzipFile(fileobj=self._file)
        self._kept_at = 0
        self._kept = b""
        self._size: int | None = None

    def read(self, at: int, size: int) -> bytes:
        """See ``Bytes``. A file that is broken off, or is none, raises OSError."""
        kept_end = self._kept_at + len(self._kept)
        kept = self._kept[at - self._kept_at :] if self._kept_at <= at <= kept_end else b""
        if len(kept) < size:
            with _damage():
                self._content.seek(at + len(kept))
                kept += self._content.read(size - len(kept))
            self._kept_at, self._kept = at, kept
        return kept[:size]

    def size(self) -> int:
        """See ``Bytes``; it is unpacked once for that."""
        if self._size is None:
            with _damage():
                while self._content.read(_STEP):
                    pass
                self._size = self._content.tell()
        return self._size

    def progress(self, at: int) -> tuple[int, int]:
        """See ``Bytes``."""
        return (self._file.tell() if at else 0), super().size()

    def close(self) -> None:
        """Closes it."""
        self._content.close()
        self._file.close()


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error) as error:
        raise OSError(f"damaged gz file: {error}") from error


def open_bytes(path: Path) -> Bytes:
    """Opens a log file; what is packed is told by its first bytes. Raises OSError, also for what is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no regular file")
        packed = os.pread(descriptor, 2, 0) == _GZIP
    except OSError:
        os.close(descriptor)
        raise
    return PackedBytes(descriptor) if packed else Bytes(descriptor)
