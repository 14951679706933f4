"""The table on disk, for a start without Kafka. JSON lines: a header, decisions, allowlist, a trailer with checksum.

A snapshot is written beside the old one and renamed; the one before is kept as ``.1``. A file that was torn, cut or
changed fails its checksum and is not used.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
import structlog

from pipeline.enforce.table import DecisionTable
from pipeline.enforce.terms import Restriction
from pipeline.enforce.wording import plain
from schemas.setting import Setting

_log = structlog.get_logger()

_CHUNK = 2_000


class SnapshotError(ValueError):
    """The file is no whole snapshot; the message says why."""


class _Header(msgspec.Struct, tag="sekimori-snapshot", tag_field="format"):
    written_at: float
    version: Literal[1] = 1


class _Trailer(msgspec.Struct, tag="end", tag_field="format"):
    bytes: int
    blake2b: str


class _Line(msgspec.Struct, omit_defaults=True):
    restriction: Restriction | None = msgspec.field(default=None, name="held")
    allow: Setting | None = None


_ENCODER = msgspec.json.Encoder()
_HEADER = msgspec.json.Decoder(_Header)
_LINE = msgspec.json.Decoder(_Line)
_TRAILER = msgspec.json.Decoder(_Trailer)


def write_snapshot(path: Path, decisions: list[Restriction], allowlist: list[Setting], written_at: float) -> None:
    """Replaces the snapshot at ``path``, mode 0600. May run in a thread while the table changes. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        _write(file, decisions, allowlist, written_at)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        os.replace(path, _previous(path))
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_snapshot(path: Path, now: float) -> tuple[DecisionTable, float]:
    """The table as it was, less what is over at ``now``, and when it was written. Raises SnapshotError, OSError."""
    table = DecisionTable()
    digest = hashlib.blake2b(digest_size=16)
    length = 0
    try:
        with path.open("rb") as file:
            first = file.readline()
            written_at = _HEADER.decode(first).written_at
            line = first
            for following in file:
                digest.update(line)
                length += len(line)
                if line is not first:
                    _take(table, _LINE.decode(line), now)
                line = following
        trailer = _TRAILER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise SnapshotError(f"{path}: cut or damaged: {error}") from None
    if (trailer.bytes, trailer.blake2b) != (length, digest.hexdigest()):
        raise SnapshotError(f"{path}: cut or damaged: the checksum is wrong")
    return table, written_at


def candidates(path: Path) -> tuple[Path, Path]:
    """The snapshot and the one before it."""
    return path, _previous(path)


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _write(file: BinaryIO, decisions: list[Restriction], allowlist: list[Setting], written_at: float) -> None:
    digest = hashlib.blake2b(digest_size=16)
    length = 0
    for chunk in _chunks(decisions, allowlist, written_at):
        file.write(chunk)
        digest.update(chunk)
        length += len(chunk)
    file.write(_ENCODER.encode(_Trailer(length, digest.hexdigest())) + b"\n")


def _chunks(decisions: list[Restriction], allowlist: list[Setting], written_at: float) -> Iterator[bytes]:
    yield _ENCODER.encode(_Header(written_at)) + b"\n"
    for start in range(0, len(decisions), _CHUNK):
        yield _lines(_Line(restriction=r) for r in decisions[start : start + _CHUNK] if r.live)
    yield _lines(_Line(allow=setting) for setting in allowlist)


def _lines(lines: Iterable[_Line]) -> bytes:
    return _ENCODER.encode_lines(list(lines))


def _take(table: DecisionTable, line: _Line, now: float) -> None:
    try:
        if line.restriction is not None and line.restriction.expires_at > now:
            line.restriction.text = plain(line.restriction.text)  # the first version kept it as it was decided
            table.restore(line.restriction)
        if line.allow is not None:
            table.allow(line.allow.key, line.allow)
    except ValueError as error:  # another version may obey what this one does not
        _log.warning("snapshot_line_left_out", error=str(error)[:500])
