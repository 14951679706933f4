"""Connections to a Kafka cluster through kafka-python, and reading its topics."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.errors import TopicAuthorizationFailedError
from kafka.partitioner.default import murmur2

from pipeline.adapters.kafka.errors import end_offsets, first_offsets, position, translated
from pipeline.adapters.kafka.memory import fold
from pipeline.adapters.kafka.security.access import Cluster, cluster_at
from pipeline.adapters.kafka.security.connecting import BOOTSTRAP_MS, connected
from pipeline.ports import AccessRefused, BrokerUnavailable, Places, Record, TopicMissing

POLL_MS = 500
REQUEST_MS = 10_000
HEARTBEAT_MS = 3_000
_TRY_MS = 1_000  # enough for a broker that is busy


@contextmanager
def admin(bootstrap: str, bootstrap_ms: int = BOOTSTRAP_MS) -> Iterator[Any]:
    """A short-lived admin client, which knows topics by their names on the cluster. Raises BrokerUnavailable."""
    with translated(bootstrap):
        client = connected(
            KafkaAdminClient, bootstrap, bootstrap_timeout_ms=bootstrap_ms, request_timeout_ms=REQUEST_MS
        )
        try:
            yield client
        finally:
            client.close()


def wait_until_up(bootstrap: str, seconds: float, waiting: Callable[[], bool] = lambda: True) -> None:
    """Returns when a broker answers. ``waiting`` is called between tries; it stops the wait by returning False.

    Raises BrokerUnavailable after ``seconds``, and AccessRefused at once.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with admin(bootstrap, bootstrap_ms=_TRY_MS) as client:
                client.list_topics()
                return
        except BrokerUnavailable as error:
            if isinstance(error, AccessRefused) or time.monotonic() >= deadline or not waiting():
                raise


def described(client: Any, cluster: Cluster, topics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What an admin client tells of those topics that are there. Never creates one.

    Raises kafka-python's TopicAuthorizationFailedError.
    """
    found = {}
    for told in client.describe_topics([cluster.topic(topic) for topic in topics]):
        if told["error_code"] == TopicAuthorizationFailedError.errno:
            raise TopicAuthorizationFailedError(told["name"])
        if not told["error_code"] and told["partitions"]:
            found[cluster.name(told["name"])] = told
    return found


def missing(cluster: Cluster, topic: str) -> TopicMissing:
    """To be raised where a topic is not there."""
    return TopicMissing(f"there is no topic {cluster.topic(topic)} at {cluster}; make it with: sekimori prepare")


def partition_counts(bootstrap: str, topics: Sequence[str]) -> dict[str, int]:
    """The number of partitions of each topic. Never creates one. Raises TopicMissing, BrokerUnavailable."""
    cluster = cluster_at(bootstrap)
    with admin(cluster) as client:
        found = {topic: len(told["partitions"]) for topic, told in described(client, cluster, topics).items()}
    for topic in topics:
        if topic not in found:
            raise missing(cluster, topic)
    return found


class TopicReader:
    """``pipeline.ports.FollowedLog`` on a real cluster, from the start or from ``positions``: for tables and replays.

    ``positions``: the offset of the next record to read. ``partition``: read no other one. Raises TopicMissing,
    BrokerUnavailable.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str],
        positions: Places | None = None,
        partition: int | None = None,
    ) -> None:
        self._bootstrap = self._cluster = cluster_at(bootstrap)
        counts = partition_counts(bootstrap, topics)
        every = [TopicPartition(self._cluster.topic(topic), n) for topic in topics for n in range(counts[topic])]
        self._partitions = [tp for tp in every if partition in (None, tp.partition)]
        self._consumer = consumer(bootstrap, auto_offset_reset="earliest")
        try:
            self._seek(positions or {})
        except BaseException:  # whoever could close it has no hold of it yet
            self.close()
            raise

    def _seek(self, positions: Places) -> None:
        with translated(self._bootstrap):
            self._consumer.assign(self._partitions)
            first = first_offsets(self._consumer, self._partitions)
            ends = _ends(self._bootstrap, self._partitions)
            for tp in self._partitions:
                wanted = positions.get(self._place(tp), 0)
                self._consumer.seek(tp, max(first[tp], wanted) if wanted <= ends[tp] else first[tp])

    def poll(self, seconds: float) -> list[Record]:
        """See ``pipeline.ports.FollowedLog``."""
        with translated(self._bootstrap):
            return records(self._cluster, self._consumer.poll(timeout_ms=int(seconds * 1000), max_records=10_000))

    def positions(self) -> Places:
        """See ``pipeline.ports.FollowedLog``."""
        with translated(self._bootstrap):
            return {self._place(tp): position(self._consumer, tp) for tp in self._partitions}

    def ends(self) -> Places:
        """See ``pipeline.ports.FollowedLog``."""
        return {self._place(tp): end for tp, end in _ends(self._bootstrap, self._partitions).items()}

    def heartbeat(self) -> tuple[Places, int]:
        """See ``pipeline.ports.FollowedLog``. The embedded broker names the first record of the last batch, Kafka the
        last."""
        with translated(self._bootstrap):
            ends = end_offsets(self._consumer, self._partitions, HEARTBEAT_MS)
            behind = sum(
                max(0, max(ends[tp], self._consumer.highwater(tp) or 0) - position(self._consumer, tp))
                for tp in self._partitions
            )
        return {self._place(tp): end for tp, end in ends.items()}, behind

    def _place(self, tp: Any) -> tuple[str, int]:
        return self._cluster.name(tp.topic), tp.partition

    def behind(self) -> int:
        """How many offsets lie between here and the end."""
        at = self.positions()
        return sum(max(0, end - at[tp]) for tp, end in self.ends().items())

    def close(self) -> None:
        """Lets the connections go."""
        with suppress(kafka_errors.KafkaError):
            self._consumer.close(timeout_ms=1000)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class KafkaLog:
    """``pipeline.ports.CompactedLog`` and ``PartitionLog`` on a real cluster; each call has its own connection.

    ``timeout``: seconds without progress after which the broker counts as unavailable.
    """

    def __init__(self, bootstrap: str, timeout: float = 30.0) -> None:
        self._bootstrap = bootstrap
        self._timeout = timeout

    def state(self, topic: str) -> dict[bytes, bytes]:
        """See ``pipeline.ports.CompactedLog``."""
        table: dict[bytes, bytes] = {}
        with TopicReader(self._bootstrap, [topic]) as reader:
            for record in self._until_end(reader):
                fold(table, record)
        return table

    def partition_of(self, topic: str, key: bytes) -> int:
        """See ``pipeline.ports.PartitionLog``. As every Kafka client does it: murmur2 of the key."""
        return int((murmur2(key) & 0x7FFFFFFF) % partition_counts(self._bootstrap, [topic])[topic])

    def end(self, topic: str, partition: int) -> int:
        """See ``pipeline.ports.PartitionLog``."""
        with TopicReader(self._bootstrap, [topic], partition=partition) as reader:
            ends = reader.ends()
        if (topic, partition) not in ends:
            raise TopicMissing(f"{topic} has no partition {partition}")
        return ends[topic, partition]

    def read(self, topic: str, partition: int, start: int) -> Generator[Record]:
        """See ``pipeline.ports.PartitionLog``."""
        with TopicReader(self._bootstrap, [topic], {(topic, partition): start}, partition) as reader:
            yield from self._until_end(reader)

    def _until_end(self, reader: TopicReader) -> Iterator[Record]:
        ends = reader.ends()
        deadline = time.monotonic() + self._timeout
        while any(at < ends[tp] for tp, at in reader.positions().items()):
            batch = reader.poll(POLL_MS / 1000)
            if batch:
                deadline = time.monotonic() + self._timeout
            elif time.monotonic() > deadline:
                raise BrokerUnavailable(f"the Kafka broker at {self._bootstrap} sent nothing for {self._timeout} s")
            yield from batch


def consumer(bootstrap: str, **settings: Any) -> Any:
    """A consumer that commits only when told to, and fetches up to 8 MiB of a partition at a time."""
    with translated(bootstrap):
        return connected(
            KafkaConsumer,
            bootstrap,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            max_partition_fetch_bytes=8_388_608,
            request_timeout_ms=REQUEST_MS,
            fetch_max_wait_ms=POLL_MS,
            **settings,
        )


def _ends(bootstrap: str, partitions: Sequence[Any]) -> dict[Any, int]:
    """The offset that the next message of each partition will get.

    The embedded broker lists the first record of the last batch where Kafka lists the last one, so the end is asked
    for in another way too: a fetch from there carries the high watermark, which both tell right.
    """
    source = consumer(bootstrap, auto_offset_reset="earliest")
    try:
        with translated(bootstrap):
            first, ends = first_offsets(source, partitions), end_offsets(source, partitions)
            waiting = [tp for tp in partitions if ends[tp] > first[tp]]
            source.assign(waiting)
            for tp in waiting:
                source.seek(tp, ends[tp] - 1)
            deadline = time.monotonic() + REQUEST_MS / 1000
            while waiting and time.monotonic() < deadline:
                source.poll(timeout_ms=50)
                for tp in waiting:
                    ends[tp] = max(ends[tp], source.highwater(tp) or 0)
                waiting = [tp for tp in waiting if source.highwater(tp) is None]
    finally:
        source.close(timeout_ms=1000)
    if waiting:
        raise BrokerUnavailable(f"the Kafka broker at {bootstrap} does not tell where {waiting[0].topic} ends")
    return dict(ends)


def records(cluster: Cluster, polled: Mapping[Any, Sequence[Any]]) -> list[Record]:
    """What ``KafkaConsumer.poll`` returns, as records, in order within each partition."""
    return [
        Record(cluster.name(r.topic), r.partition, r.offset, r.timestamp, r.key, r.value, _headers(r))
        for batch in polled.values()
        for r in batch
    ]


def _headers(record: Any) -> tuple[tuple[str, bytes], ...]:
    """A header's value may be missing."""
    return tuple((name, value or b"") for name, value in record.headers)
