"""What the flow asks of a log broker and of an analytical store, in no client library's words.

Every implementation passes one contract suite.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import pandas as pd

Value = str | int | float | datetime | date | tuple["Value", ...]
"""What may be bound in a query of a store."""

Headers = Sequence[tuple[str, bytes]]
Places = Mapping[tuple[str, int], int]
"""(topic, partition) -> an offset in it."""


class BrokerUnavailable(ConnectionError):
    """The broker does not answer. It may come back: keep the position and try again."""


class AccessRefused(BrokerUnavailable):
    """The broker does not let this user in, or not do this. Somebody must mend it; then the same works."""


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


class FollowedLog(Protocol):
    """Whole topics, read from their start and then followed, without a consumer group. As a context manager it lets
    its connections go. Every method raises TopicMissing, BrokerUnavailable."""

    def poll(self, seconds: float) -> list[Record]:
        """The next records, in order within each partition, waiting ``seconds`` at most; empty if none came."""

    def positions(self) -> Places:
        """The offset of the next record to read."""

    def ends(self) -> Places:
        """The offset that the next message will get."""

    def heartbeat(self) -> tuple[Places, int]:
        """Asks the broker over the connection in use: ends, and how many messages are not read yet.

        These ends may lie before those of ``ends``; they never go back unless a topic was made anew.
        """

    def __enter__(self) -> Self:
        """To be left when it is of no further use."""

    def __exit__(self, *_: object) -> None:
        """Lets the connections go."""


class StoreUnavailable(ConnectionError):
    """The store does not answer, or not now. It may come back: keep the position and try again."""


class StoreError(RuntimeError):
    """The store refuses a statement: a table is missing, or there is a mistake in it."""


class RowStore(Protocol):
    """A columnar store that speaks ClickHouse's SQL. Every method raises StoreUnavailable and StoreError.

    In statements ``:name`` stands for a value; it is written as a literal, whatever it holds.
    """

    def execute(self, sql: str, **values: Value) -> None:
        """A statement without a result."""

    def query(self, sql: str, **values: Value) -> "pd.DataFrame":
        """The result, the same types from every engine: integers int64, numbers float64, text str, DateTime
        datetime64[s, UTC], Date datetime64[s], arrays lists."""

    def pack(self, table: str, columns: "Mapping[str, Sequence[Any]]") -> "Mapping[str, Sequence[Any]]":
        """The same columns in the form that ``insert`` takes fastest: to be done while another thread inserts."""

    def insert(self, table: str, columns: "Mapping[str, Sequence[Any]]") -> None:
        """Appends rows. Columns have one length; those left out get their default. DateTime: seconds since 1970 UTC.

        When it returns, the rows are there. If it raises, none or all of them may be.
        """

    def close(self) -> None:
        """Lets connections and locks go."""
