"""The table on disk, for a start without Kafka.

A line of JSON that says what the file is, then blocks of decisions and of the allowlist (4 bytes of length, and
MessagePack), an empty block, and a checksum of all before it::

    {"format": ..., "version": 2}\n | length | block | length | block ... | 0 | BLAKE2b, 16 bytes

A snapshot is written beside the old one and renamed; the one before is kept as ``.1``. A file that was torn, cut or
changed fails its checksum and is not used. What earlier versions wrote is read by ``snapshot_lines``.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import structlog

from pipeline.adapters.agent import snapshot_lines
from pipeline.adapters.agent.snapshot_lines import SnapshotError
from pipeline.enforce.table import DecisionTable
from pipeline.enforce.terms import Restriction, Reworded, Terms
from schemas.setting import Setting

__all__ = ["SnapshotError", "candidates", "load_slices", "read_snapshot", "write_snapshot", "written_at"]

_log = structlog.get_logger()

NEWEST: Final = 2
_CHUNK: Final = 200
_DIGEST: Final = 16
_LENGTH: Final = 4


class _Header(msgspec.Struct, tag="sekimori-snapshot", tag_field="format"):
    written_at: float
    version: int = NEWEST


class _Block(msgspec.Struct, array_like=True):
    """``held``: number of the terms, subject, text, issued_at, expires_at. ``told``: what some of them are ``told``, by
    their place in ``held``."""

    terms: list[Terms] = []
    held: list[tuple[int, str, str, float, float]] = []
    allow: list[Setting] = []
    told: dict[int, tuple[str, str]] = {}


_ENCODER = msgspec.msgpack.Encoder()
_HEADER = msgspec.json.Decoder(_Header)
_BLOCK = msgspec.msgpack.Decoder(_Block)


def write_snapshot(
    path: Path, decisions: Iterable[Restriction], allowlist: Iterable[Setting], written_at: float
) -> None:
    """Replaces the snapshot at ``path``, mode 0600. May run in a thread while the table changes. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            _write(file, decisions, allowlist, written_at)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)  # where the disk is full, it must not keep it so
        raise
    if path.exists():
        os.replace(path, _previous(path))
    os.replace(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def written_at(path: Path) -> float:
    """When the snapshot was written, after its whole file was checked. Raises SnapshotError, OSError."""
    with path.open("rb") as file:
        header = _header(path, file.readline())
        if header.version == 1:
            snapshot_lines.check(path)
            return header.written_at
        file.seek(0)
        digest, left = hashlib.blake2b(digest_size=_DIGEST), path.stat().st_size - _DIGEST
        while chunk := file.read(min(1 << 20, max(0, left))):
            digest.update(chunk)
            left -= len(chunk)
        if left != 0 or file.read() != digest.digest():
            raise SnapshotError(f"{path}: cut or damaged: the checksum is wrong")
    return header.written_at


def load_slices(path: Path, table: DecisionTable, after: float) -> Iterator[None]:
    """Loads what is not over at ``after`` (seconds since 1970 UTC) into ``table``, in steps of a few milliseconds. To
    be called once ``written_at`` has checked the file. Raises SnapshotError, OSError."""
    with path.open("rb") as file:
        if _header(path, file.readline()).version == 1:
            yield from snapshot_lines.load_slices(path, table, after)
            return
        while length := int.from_bytes(file.read(_LENGTH)):
            try:
                block = _BLOCK.decode(file.read(length))
                _take(table, block, after)
            except (msgspec.DecodeError, UnicodeDecodeError, IndexError) as error:
                raise SnapshotError(f"{path}: cut or damaged: {error}") from None
            yield


def read_snapshot(path: Path, now: float) -> tuple[DecisionTable, float]:
    """The table as it was, less what is over at ``now``, and when it was written. Raises SnapshotError, OSError."""
    table, at = DecisionTable(), written_at(path)
    for _ in load_slices(path, table, now):
        pass
    return table, at


def candidates(path: Path) -> tuple[Path, Path]:
    """The snapshot and the one before it."""
    return path, _previous(path)


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _header(path: Path, line: bytes) -> _Header:
    try:
        header = _HEADER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotError(f"{path}: cut or damaged: {error}") from None
    if not 1 <= header.version <= NEWEST:
        raise SnapshotError(
            f"{path}: it is of version {header.version}, and this program knows them up to {NEWEST}: start the newer "
            "program again, or remove the file, and the decisions are read from Kafka"
        )
    return header


def _write(file: BinaryIO, decisions: Iterable[Restriction], allowlist: Iterable[Setting], at: float) -> None:
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for chunk in _chunks(decisions, allowlist, at):
        file.write(chunk)
        digest.update(chunk)
    file.write(digest.digest())


def _chunks(decisions: Iterable[Restriction], allowlist: Iterable[Setting], at: float) -> Iterator[bytes]:
    yield msgspec.json.encode(_Header(at)) + b"\n"
    some: list[Restriction] = []
    for restriction in decisions:
        some.append(restriction)
        if len(some) == _CHUNK:
            yield _framed(_block(some))
            some = []
    yield _framed(_block(some))
    settings = list(allowlist)
    for start in range(0, len(settings), _CHUNK):
        yield _framed(_Block(allow=settings[start : start + _CHUNK]))
    yield bytes(_LENGTH)


def _block(some: Iterable[Restriction]) -> _Block:
    numbers: dict[Terms, int] = {}
    live = [r for r in some if r.live]
    held = [(numbers.setdefault(r.terms, len(numbers)), r.subject, r.text, r.issued_at, r.expires_at) for r in live]
    return _Block(list(numbers), held, told={n: r.told for n, r in enumerate(live) if isinstance(r, Reworded)})


def _framed(block: _Block) -> bytes:
    encoded = _ENCODER.encode(block)
    return len(encoded).to_bytes(_LENGTH) + encoded


def _take(table: DecisionTable, block: _Block, after: float) -> None:
    terms = [table.share(some) for some in block.terms]
    made = [
        Restriction(terms[number], subject, text, issued, expires)
        for number, subject, text, issued, expires in block.held
    ]
    for place, told in block.told.items():
        number, subject, text, issued, expires = block.held[place]
        made[place] = Reworded(terms[number], subject, text, issued, expires, told=told)
    for why in table.restore_all(
        r for r in made if r.expires_at > after
    ):  # another version may obey what this one does not
        _log.warning("snapshot_line_left_out", error=why[:500])
    for setting in block.allow:
        snapshot_lines.take_setting(table, setting)
