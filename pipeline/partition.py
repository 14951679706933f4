"""What a streaming job does with one partition: a record in, messages out, and a state that can be saved.

Pure: the adapter that reads and writes the broker calls it, and so do tests, without any broker.
"""

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import msgspec

from pipeline.ports import Record
from schemas.dead_letter import DeadLetter
from schemas.tally import LAST_TIME, Tally

REFERENCE = "reference"  # header: milliseconds since 1970 of lines that are sent later than they were written
ZONE = "zone"  # header: of stamps that carry none, an IANA name or an offset such as +09:00; see ``normalize.zones``
FILE = "file"  # header: the id of the file that the lines were read from
FORMAT = "format"  # header of a saved part: the version of its format


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent; ``partition`` None leaves the choice to the key, ``value`` None is a tombstone."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class StatePart(NamedTuple):
    """A part of a saved state. ``version``: of the format of ``value``; 1 where none is told, as it once was.
    ``after``: it may be written only when all parts before it are safe."""

    key: bytes
    value: bytes
    version: int = 1
    after: bool = False


class StateUnreadable(ValueError):
    """A saved part that this version of the program cannot read; the message says why. ``key``: of the part."""

    def __init__(self, why: str, key: bytes) -> None:
        super().__init__(why)
        self.key = key


class PartitionStage(Protocol):
    """State and work of one partition.

    ``position``: offset of the last record worked on, -1 for none; after ``load``, of the last one that a whole
    checkpoint had included. The caller must leave out records at or below it, and give all others, without a gap.
    ``life``: how often the topic was made anew, or lost its end, since the state began: its offsets tell its records
    apart only within one life. The caller keeps it with the state.
    """

    life: int

    @property
    def position(self) -> int:
        """See above."""

    @property
    def without_state(self) -> str:
        """For operators: what becomes of the partition when its saved state is deleted."""

    def process(self, record: Record) -> list[Outgoing]:
        """The messages that a record brings about. Deterministic: the same records give the same messages."""

    def restart(self, position: int) -> None:
        """The topic has another life: its records after ``position`` are others than those that were worked on. What
        came of those is kept."""

    def renew(self) -> None:
        """The next ``save`` gives every part, not only those that have changed."""

    def refresh(self) -> None:
        """To be called now and then, between records: looks whether rules or files are others now, and measures."""

    def save(self) -> Iterator[StatePart]:
        """One checkpoint: the parts that have changed since the last. With those saved before, they hold the state at
        the moment of the call, or later."""

    def load(self, saved: Iterable[StatePart]) -> None:
        """Inverse of ``save``; parts that are not this partition's are left out. Raises StateUnreadable, and then the
        stage is of no further use."""


@contextmanager
def loading(part: StatePart, newest: int) -> Iterator[None]:
    """Around the decoding of a part: whatever shows that it is damaged, or of a format newer than ``newest``, becomes
    StateUnreadable."""
    if not 1 <= part.version <= newest:
        raise StateUnreadable(
            f"its format is version {part.version}, and this program knows them up to {newest}", part.key
        )
    try:
        yield
    except (msgspec.DecodeError, zlib.error, ValueError, LookupError, RecursionError) as error:
        raise StateUnreadable(f"it is damaged, or of an unknown format ({error})", part.key) from error


def source_of(topic: str, partition: int, life: int, piece: int = 0) -> str:
    """The name of a source of frames: ``maillog-3``. In a later life of the topic ``maillog-3+1``, since offsets come
    again; a later piece of a large frame is a frame of its own, of ``maillog-3#1``."""
    return f"{topic}-{partition}" + (f"+{life}" if life else "") + (f"#{piece}" if piece else "")


def partition_of(tally: Tally, partitions: int) -> int:
    """The partition of ``tallies`` that a tally belongs to."""
    return partition_of_subject(tally.subject, partitions)


def partition_of_subject(subject: str, partitions: int) -> int:
    """The partition of ``tallies`` where all of a subject is counted."""
    return zlib.crc32(subject.encode()) % partitions


def arrival_of(record: Record) -> tuple[float, bool]:
    """When the lines of a raw message arrived, seconds since 1970, and whether they arrived as they were written.

    That is the time of the message, as the broker stamped it; a sender of older lines says by a header that they are
    older, and how old. What is no such header, or says that they are newer, is left out.
    """
    told = dict(record.headers).get(REFERENCE) or b""
    if told.isdigit() and len(told) < len(str(record.timestamp_ms)) + 1 and int(told) <= record.timestamp_ms:
        return int(told) / 1000, False
    return record.timestamp_ms / 1000, True


def unreadable(source: str, record: Record, why: str) -> DeadLetter:
    """The dead letter for a message that is no message of ours; a time that cannot be is moved to the nearest one."""
    return DeadLetter(
        source=source,
        offset=record.offset,
        index=0,
        reason=why,
        raw=(record.value or b"")[: 4 * 4096].decode("utf-8", "backslashreplace")[:4096],
        time=datetime.fromtimestamp(min(max(record.timestamp_ms / 1000, 0), LAST_TIME - 1), UTC),
    )
