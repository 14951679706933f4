"""A log broker in a dictionary: for tests and notebooks. It keeps the contract of ``pipeline.ports``."""

import zlib
from collections.abc import Callable, Iterator, Mapping

from pipeline.ports import Headers, MessageRefused, Record, TopicMissing

MAX_MESSAGE = 1_048_576


class MemoryLog:
    """Outbox, CompactedLog and PartitionLog in one. ``now_ms`` stamps messages that carry no time."""

    def __init__(self, topics: Mapping[str, int], now_ms: Callable[[], int] = lambda: 0) -> None:
        """``topics``: name -> number of partitions."""
        self.partitions: dict[str, list[list[Record]]] = {t: [[] for _ in range(n)] for t, n in topics.items()}
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
        return after

    def state(self, topic: str) -> dict[bytes, bytes]:
        """See ``pipeline.ports.CompactedLog``."""
        table: dict[bytes, bytes] = {}
        for partition in range(self._count(topic)):
            for record in self.read(topic, partition, 0):
                fold(table, record)
        return table

    def partition_of(self, topic: str, key: bytes) -> int:
        """See ``pipeline.ports.PartitionLog``."""
        return zlib.crc32(key) % self._count(topic)

    def end(self, topic: str, partition: int) -> int:
        """See ``pipeline.ports.PartitionLog``."""
        return len(self._partition(topic, partition))

    def read(self, topic: str, partition: int, start: int) -> Iterator[Record]:
        """See ``pipeline.ports.PartitionLog``."""
        log = self._partition(topic, partition)
        return iter(log[start if start <= len(log) else 0 :])

    def _count(self, topic: str) -> int:
        if topic not in self.partitions:
            raise TopicMissing(f"there is no topic {topic}")
        return len(self.partitions[topic])

    def _partition(self, topic: str, partition: int) -> list[Record]:
        if not 0 <= partition < self._count(topic):
            raise TopicMissing(f"{topic} has no partition {partition}")
        return self.partitions[topic][partition]


def fold(table: dict[bytes, bytes], record: Record) -> None:
    """Applies one record to a table: the last value wins, a tombstone removes the key."""
    if record.key is None:
        return
    if record.value is None:
        table.pop(record.key, None)
    else:
        table[record.key] = record.value
