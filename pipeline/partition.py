"""What a streaming job does with one partition: a record in, messages out, and a state that can be saved.

Pure: the adapter that reads and writes the broker calls it, and so do tests, without any broker.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from zlib import crc32

from pipeline.ports import Record
from schemas.dead_letter import DeadLetter
from schemas.tally import Tally

SOURCE, OFFSET = "source", "offset"  # headers: which raw frame a message was made from
_SOURCES_KEY, _POSITION_KEY = b"sources", b"position"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent; ``partition`` None leaves the choice to the key."""

    topic: str
    value: bytes
    key: bytes | None = None
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class PartitionStage(Protocol):
    """State and work of one partition.

    ``position``: offset of the last record worked on, -1 for none; after ``load``, of the last one that a whole round
    of ``save`` had included. The caller must leave out records at or below it, and give all others, without a gap.
    """

    @property
    def position(self) -> int:
        """See above."""

    def process(self, record: Record) -> list[Outgoing]:
        """The messages that a record brings about. Deterministic: the same records give the same messages."""

    def save(self) -> Iterator[tuple[bytes, bytes]]:
        """One round of (key, value) that together hold the state at the moment of the call, or later."""

    def load(self, saved: Mapping[bytes, bytes]) -> None:
        """Inverse of ``save``. Raises msgspec.DecodeError or zlib.error."""


def partition_of(tally: Tally, partitions: int) -> int:
    """The partition of ``tallies`` that a subject belongs to."""
    return crc32(tally.subject.encode()) % partitions


def unreadable(source: str, record: Record, why: str) -> DeadLetter:
    """The dead letter for a message that is no message of ours."""
    return DeadLetter(
        source=source,
        offset=record.offset,
        index=0,
        reason=why,
        raw=(record.value or b"").decode("utf-8", "backslashreplace")[:4096],
        time=datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
    )


MakeStage = Callable[[str, int], PartitionStage]
"""(topic, partition) -> its stage, new."""
