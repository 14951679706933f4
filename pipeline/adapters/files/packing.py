"""What logs are packed with: gz, xz, bz2 and zst, told by a file's first bytes and never by its name."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple, cast

import zstandard

MAGIC = 10
"""Bytes from the start of a file that tell what it is packed with."""
_STEP = 4096  # packed bytes of zst at a time: what comes of them is held in memory whole


class Packing(NamedTuple):
    """``begins``: does a file that begins so hold it? ``unpack``: the content of a packed stream, read forward."""

    name: str
    begins: Callable[[bytes], bool]
    unpack: Callable[[BinaryIO], BinaryIO]


class _Zstd(io.RawIOBase):
    """The content of zst. As the others it raises EOFError where data is cut off."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._content = b""
        self._rest = b""  # packed, behind the end of a frame
        self._frame: zstandard.ZstdDecompressionObj | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._content:
            data = self._rest or self._packed.read(_STEP)
            if not data and self._frame is None:
                return 0
            if not data:
                raise EOFError("Compressed file ended before the end of its last frame")
            frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                self._content = frame.decompress(data)
            except zstandard.ZstdError as error:
                raise OSError(f"damaged zst data: {error}") from None
            self._rest, self._frame = (frame.unused_data, None) if frame.eof else (b"", frame)
        given, self._content = self._content[: len(buffer)], self._content[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)


def _gz(packed: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=packed))


def _xz(packed: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, lzma.LZMAFile(packed))


def _bz2(packed: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, bz2.BZ2File(packed))


def _zst(packed: BinaryIO) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Zstd(packed), 1 << 16))


PACKINGS: tuple[Packing, ...] = (
    Packing("gzip", lambda head: head.startswith(b"\x1f\x8b"), _gz),
    Packing("xz", lambda head: head.startswith(b"\xfd7zXZ\x00"), _xz),
    Packing("bzip2", lambda head: head[:3] == b"BZh" and head[4:] in (b"1AY&SY", b"\x17rE8P\x90"), _bz2),
    Packing("zst", lambda head: head.startswith(b"\x28\xb5\x2f\xfd"), _zst),
)


def packing_of(head: bytes) -> Packing | None:
    """What a file is packed with that begins so (``MAGIC`` bytes); ``None`` if it is not."""
    return next((packing for packing in PACKINGS if packing.begins(head[:MAGIC])), None)


class Unpacked:
    """The content of a packed stream, read forward. Data that is damaged or cut off raises OSError, after all that can
    be read. ``name``: of the file, for what is said then."""

    def __init__(self, packing: Packing, packed: BinaryIO, name: str) -> None:
        self._content = packing.unpack(packed)
        self._what = f"{name}: damaged {packing.name} data"

    def read(self, size: int) -> bytes:
        """``size`` bytes; fewer only at the end."""
        return self._checked(self._content.read, size)

    def read1(self, size: int) -> bytes:
        """Some bytes, ``size`` at most, without waiting for more; none only at the end."""
        return self._checked(self._content.read1, size)  # type: ignore[attr-defined]  # all of them have it

    def _checked(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return read(size)
        except (EOFError, zlib.error, lzma.LZMAError) as error:
            raise OSError(f"{self._what}: {error}") from None
        except OSError as error:
            raise error if error.errno else OSError(f"{self._what}: {error}") from None
