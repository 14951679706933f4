"""A log broker in a dictionary: for tests and notebooks. It keeps the contract of ``pipeline.ports``."""

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

from pipeline.ports import BrokerUnavailable, Headers, MessageRefused, Places, Record, TopicMissing

MAX_MESSAGE = 1_048_576


class MemoryLog:
    """Outbox, CompactedLog and PartitionLog in one. ``now_ms`` stamps messages that carry no time.

    While ``answers`` is False it is as a broker that is down. ``written`` is notified when messages were flushed.
    """

    def __init__(self, topics: Mapping[str, int], now_ms: Callable[[], int] = lambda: 0) -> None:
        """``topics``: name -> number of partitions."""
        self.partitions: dict[str, list[list[Record]]] = {t: [[] for _ in range(n)] for t, n in topics.items()}
        self.answers = True
        self.written = threading.Condition()
        self._pending: list[Record] = []
        self._now_ms = now_ms

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """See ``pipeline.ports.Outbox``."""
        if key is None and value is None:
            raise MessageRefused(f"{topic}: a message needs a key or a value")
        if len(key or b"") + len(value or b"") > MAX_MESSAGE:
            raise MessageRefused(f"{topic}: {len(value or b'')} bytes are more than {MAX_MESSAGE}")
        if partition is None:
            partition = self.partition_of(topic, key or b"")
        self._partition(topic, partition)
        stamp = self._now_ms() if timestamp_ms is None else timestamp_ms
        self._pending.append(Record(topic, partition, -1, stamp, key, value, tuple(headers)))

    def flush(self) -> dict[tuple[str, int], int]:
        """See ``pipeline.ports.Outbox``."""
        after: dict[tuple[str, int], int] = {}
        for r in self._pending:
            log = self._partition(r.topic, r.partition)
            log.append(Record(r.topic, r.partition, len(log), r.timestamp_ms, r.key, r.value, r.headers))
            after[r.topic, r.partition] = len(log)
        self._pending.clear()
        with self.written:
            self.written.notify_all()
        return after

    def state(self, topic: str) -> dict[bytes, bytes]:
        """See ``pipeline.ports.CompactedLog``."""
        table: dict[bytes, bytes] = {}
        for partition in range(self.count(topic)):
            for record in self.read(topic, partition, 0):
                fold(table, record)
        return table

    def partition_of(self, topic: str, key: bytes) -> int:
        """See ``pipeline.ports.PartitionLog``."""
        return zlib.crc32(key) % self.count(topic)

    def end(self, topic: str, partition: int) -> int:
        """See ``pipeline.ports.PartitionLog``."""
        return len(self._partition(topic, partition))

    def read(self, topic: str, partition: int, start: int) -> Iterator[Record]:
        """See ``pipeline.ports.PartitionLog``."""
        log = self._partition(topic, partition)
        return iter(log[start if start <= len(log) else 0 :])

    def count(self, topic: str) -> int:
        """The number of partitions. Raises TopicMissing, BrokerUnavailable."""
        if not self.answers:
            raise BrokerUnavailable("the broker in memory does not answer")
        if topic not in self.partitions:
            raise TopicMissing(f"there is no topic {topic}")
        return len(self.partitions[topic])

    def _partition(self, topic: str, partition: int) -> list[Record]:
        if not 0 <= partition < self.count(topic):
            raise TopicMissing(f"{topic} has no partition {partition}")
        return self.partitions[topic][partition]


class MemoryReader:
    """``pipeline.ports.FollowedLog`` of a MemoryLog."""

    def __init__(self, log: MemoryLog, topics: Sequence[str]) -> None:
        self._log = log
        self._positions = {(topic, n): 0 for topic in topics for n in range(log.count(topic))}

    def poll(self, seconds: float) -> list[Record]:
        """See ``pipeline.ports.FollowedLog``."""
        with self._log.written:
            self._log.written.wait_for(self._new, seconds)
        found = self._new()
        self._positions |= {(r.topic, r.partition): r.offset + 1 for r in found}
        return found

    def positions(self) -> Places:
        """See ``pipeline.ports.FollowedLog``."""
        return self._positions.copy()

    def ends(self) -> Places:
        """See ``pipeline.ports.FollowedLog``."""
        return {place: self._log.end(*place) for place in self._positions}

    def heartbeat(self) -> tuple[Places, int]:
        """See ``pipeline.ports.FollowedLog``."""
        ends = self.ends()
        return ends, sum(max(0, ends[place] - at) for place, at in self._positions.items())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _new(self) -> list[Record]:
        return [record for place, at in self._positions.items() for record in self._log.read(*place, at)]


def fold(table: dict[bytes, bytes], record: Record) -> None:
    """Applies one record to a table: the last value wins, a tombstone removes the key."""
    if record.key is None:
        return
    if record.value is None:
        table.pop(record.key, None)
    else:
        table[record.key] = record.value
