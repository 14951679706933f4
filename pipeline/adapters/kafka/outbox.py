"""Writing to topics of a Kafka cluster through kafka-python."""

from contextlib import suppress
from typing import Any, Self

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from pipeline.adapters.kafka.client import partition_counts
from pipeline.adapters.kafka.errors import translate, translated
from pipeline.adapters.kafka.security.access import cluster_at
from pipeline.adapters.kafka.security.connecting import connected
from pipeline.ports import Headers, MessageRefused, Record, TopicMissing


class KafkaOutbox:
    """``pipeline.ports.Outbox``: acknowledged by all replicas in sync, in order, without repeats within one outbox.

    ``timeout``: seconds after which a message that the broker did not acknowledge counts as undelivered.
    """

    def __init__(self, bootstrap: str, timeout: float = 30.0, linger_ms: int = 5) -> None:
        self._bootstrap = self._cluster = cluster_at(bootstrap)
        self._timeout = timeout
        self._known: set[str] = set()
        self._after: dict[tuple[str, int], int] = {}
        self._failed: list[kafka_errors.KafkaError] = []
        with translated(bootstrap):
            self._producer = connected(
                KafkaProducer,
                bootstrap,
                acks="all",
                enable_idempotence=True,
                linger_ms=linger_ms,
                batch_size=262_144,
                # The client compares uncompressed sizes, so that both brokers refuse the same messages.
                max_request_size=1_048_576,
                allow_auto_create_topics=False,
                max_block_ms=int(timeout * 1000),
                request_timeout_ms=int(timeout * 1000),
                delivery_timeout_ms=int(timeout * 1000) + linger_ms,
            )

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
        """See ``pipeline.ports.Outbox``. Decisions and settings are signed; those that nobody would obey are
        refused."""
        if topic not in self._known:
            # A broker may create a topic that is only asked for, with the wrong number of partitions.
            partition_counts(self._bootstrap, [topic])
            self._known.add(topic)
        if key is None and value is None:
            raise MessageRefused(f"{topic}: a message needs a key or a value")
        headers = self._signed(topic, key, value, headers)
        try:
            future = self._producer.send(
                self._cluster.topic(topic),
                key=key,
                value=value,
                headers=list(headers),
                partition=partition,
                timestamp_ms=timestamp_ms,
            )
        except kafka_errors.KafkaError as error:
            raise translate(error, self._bootstrap) from error
        except (AssertionError, ValueError) as error:  # the library's words for a partition that does not exist
            raise TopicMissing(f"{topic} has no partition {partition}") from error
        future.add_callback(self._acknowledged)
        future.add_errback(self._failed.append)

    def _signed(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Headers:
        keys = self._cluster.keys
        signed = keys.signed(topic, key, value, headers)
        refusal = keys.refusal(Record(topic, 0, 0, 0, key, value, tuple(signed)))
        if refusal is None:
            return signed
        raise MessageRefused(f"{topic}: nobody would obey it: {refusal.why}; see: sekimori keys check")

    def flush(self) -> dict[tuple[str, int], int]:
        """See ``pipeline.ports.Outbox``."""
        with translated(self._bootstrap):
            self._producer.flush(self._timeout + 1)
        if self._failed:
            raise translate(self._failed[0], self._bootstrap) from self._failed[0]
        after, self._after = self._after, {}
        return after

    def _acknowledged(self, message: Any) -> None:
        place = (self._cluster.name(message.topic), message.partition)
        self._after[place] = max(self._after.get(place, 0), message.offset + 1)

    def close(self) -> None:
        """Gives up what is not flushed."""
        with suppress(kafka_errors.KafkaError):
            self._producer.close(timeout=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
