"""Reads records whose header names are not UTF-8.

Kafka takes any bytes as a header's name, and kafka-python ends at the first one that is not UTF-8: a reader would never
get past such a record. Here the name is read with what cannot be decoded as ``\\xNN``.
"""

from typing import Any

from kafka.record.default_records import DefaultRecordBatch


class _Lenient(bytearray):
    """A batch, of which every part can be decoded."""

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        return _Lenient(part) if isinstance(place, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self).decode(encoding, "backslashreplace" if errors == "strict" else errors)


_read = DefaultRecordBatch._read_msg


def _read_leniently(batch: Any, *args: Any) -> Any:
    try:
        return _read(batch, *args)
    except UnicodeDecodeError:
        whole = batch._buffer
        batch._buffer = _Lenient(whole)
        try:
            return _read(batch, *args)
        finally:
            batch._buffer = whole


def read_leniently() -> None:
    """From now on, for every client of the library in this process. May be called again."""
    DefaultRecordBatch._read_msg = _read_leniently
