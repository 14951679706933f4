"""Snapshots of version 1: JSON lines, a header, decisions, allowlist, a trailer with the checksum of all before it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from pipeline.enforce.table import DecisionTable
from pipeline.enforce.terms import Restriction
from pipeline.enforce.wording import plain
from schemas.setting import Setting

_log = structlog.get_logger()

_SLICE = 200  # lines


class SnapshotError(ValueError):
    """The file is no whole snapshot; the message says why."""


class _Trailer(msgspec.Struct, tag="end", tag_field="format"):
    bytes: int
    blake2b: str


class _Line(msgspec.Struct):
    restriction: Restriction | None = msgspec.field(default=None, name="held")
    allow: Setting | None = None


_LINE = msgspec.json.Decoder(_Line)
_TRAILER = msgspec.json.Decoder(_Trailer)


def check(path: Path) -> None:
    """Raises SnapshotError, OSError."""
    digest = hashlib.blake2b(digest_size=16)
    length = 0
    with path.open("rb") as file:
        line = file.readline()
        for following in file:
            digest.update(line)
            length += len(line)
            line = following
    try:
        trailer = _TRAILER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotError(f"{path}: cut or damaged: {error}") from None
    if (trailer.bytes, trailer.blake2b) != (length, digest.hexdigest()):
        raise SnapshotError(f"{path}: cut or damaged: the checksum is wrong")


def load_slices(path: Path, table: DecisionTable, after: float) -> Iterator[None]:
    """As ``snapshot.load_slices``, of a file that was checked."""
    with path.open("rb") as file:
        file.readline()
        for number, line in enumerate(file):
            if not line.startswith(b'{"format"'):
                try:
                    _take(table, _LINE.decode(line), after)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise SnapshotError(f"{path}: cut or damaged: {error}") from None
            if number % _SLICE == 0:
                yield


def take_setting(table: DecisionTable, setting: Setting) -> None:
    """One entry of the allowlist; another version may have taken what this one does not."""
    try:
        table.allow(setting.key, setting)
    except ValueError as error:
        _log.warning("snapshot_line_left_out", error=str(error)[:500])


def _take(table: DecisionTable, line: _Line, after: float) -> None:
    held = line.restriction
    if held is not None and held.expires_at > after:
        held.text = plain(held.text)  # the first version kept it as it was decided
        try:
            table.restore(held)
        except ValueError as error:
            _log.warning("snapshot_line_left_out", error=str(error)[:500])
    if line.allow is not None:
        take_setting(table, line.allow)
