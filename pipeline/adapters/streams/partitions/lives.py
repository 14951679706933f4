"""Is a topic still the one whose records a state has counted?

A topic that is deleted and made again begins at offset 0, with another id. One that lost its end (an unclean election,
a restored broker) keeps its id and gives offsets once more, to other records. A state that went on by offsets alone
would leave out all of those. So it remembers the topic's id, and marks: some of the records that it has counted. From
the last mark on that is still there, the topic has another life.
"""

from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Final
from zlib import crc32

import msgspec

from pipeline.ports import PartitionLog, Record

RECENT: Final = 8  # marks that are all kept; of older ones one for each doubling of the distance
START: Final = -1


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """A record that was worked on."""

    offset: int
    timestamp_ms: int
    check: int

    @classmethod
    def of(cls, record: Record) -> "Mark":
        """Of a record."""
        return cls(record.offset, record.timestamp_ms, crc32(record.value or b""))


def with_mark(marks: Iterable[Mark], new: Mark) -> tuple[Mark, ...]:
    """The marks with one more, in order of offsets; of the old ones the fewer the older they are."""
    ordered = sorted({mark.offset: mark for mark in (*marks, new)}.values(), key=lambda mark: mark.offset)
    oldest: dict[int, Mark] = {}
    for mark in ordered:
        oldest.setdefault((new.offset - mark.offset).bit_length(), mark)
    kept = {*oldest.values(), *ordered[-RECENT:]}
    return tuple(mark for mark in ordered if mark in kept)


def goes_on(log: PartitionLog, topic: str, partition: int, position: int, marks: Iterable[Mark]) -> int:
    """``position`` if the record there is the one that was worked on, or was removed by retention since; else the
    offset of the last mark that is still there, -1 for none: there another life of the topic begins.

    Raises TopicMissing, BrokerUnavailable.
    """
    if position <= START:
        return position
    marks = sorted(marks, key=lambda mark: -mark.offset)
    with closing(reading(log, topic, partition, position)) as read:
        there = next(read, None)
    if there is None and log.end(topic, partition) > position:
        return position  # retention has removed it, and all after it
    if there is not None and there.offset > position:
        return position
    same = [mark for mark in marks if mark.offset == position]
    if there is not None and there.offset == position and (not same or Mark.of(there) in same):
        return position
    for mark in marks:
        with closing(reading(log, topic, partition, mark.offset)) as read:
            there = next(read, None)
        if there is not None and Mark.of(there) == mark:
            return mark.offset
    return START


def reading(log: PartitionLog, topic: str, partition: int, start: int) -> Generator[Record]:
    """As ``PartitionLog.read``; whoever closes it lets the connection go."""
    yield from log.read(topic, partition, start)
