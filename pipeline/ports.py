"""What the flow asks of a log broker, in no client library's words. Every implementation passes one contract suite."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

Headers = Sequence[tuple[str, bytes]]


class BrokerUnavailable(ConnectionError):
    """The broker does not answer. It may come back: keep the position and try again."""


class TopicMissing(LookupError):
    """The topic does not exist, or no longer has the partition that was asked for."""


class MessageRefused(ValueError):
    """The broker will never take this message, however often it is sent."""


@dataclass(frozen=True, slots=True)
class Record:
    """A message as it lies in a log. ``timestamp_ms`` is milliseconds since 1970 UTC; ``value`` None is a tombstone."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Outbox(Protocol):
    """Where messages leave. Nothing is safe before ``flush`` has returned."""

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
        """Queues one message; equal keys go to one partition, in order. ``timestamp_ms`` None: now.

        Raises MessageRefused (too large), TopicMissing, BrokerUnavailable.
        """

    def flush(self) -> dict[tuple[str, int], int]:
        """Returns when the broker has all that was sent.

        Returned is, for each (topic, partition) written since the last flush, the offset after the last message.
        Raises what ``send`` raises. It is then unknown what arrived, and the outbox is of no further use.
        """


class CompactedLog(Protocol):
    """A topic as a table."""

    def state(self, topic: str) -> dict[bytes, bytes]:
        """The last value of each key, tombstoned keys left out, up to the end of the topic as it is now.

        Raises TopicMissing, BrokerUnavailable.
        """


class PartitionLog(Protocol):
    """A topic as what was written to it."""

    def partition_of(self, topic: str, key: bytes) -> int:
        """Where messages with this key go. Raises TopicMissing, BrokerUnavailable."""

    def end(self, topic: str, partition: int) -> int:
        """The offset that the next message will get. Raises TopicMissing, BrokerUnavailable."""

    def read(self, topic: str, partition: int, start: int) -> Iterator[Record]:
        """Records from offset ``start`` to the present end. What retention has removed is passed over, and a
        ``start`` past the end (the topic was made anew) reads everything.

        Raises TopicMissing, BrokerUnavailable.
        """
