"""A stateless job: records of a consumer group go through a function, offsets are committed after its output."""

from collections.abc import Callable, Sequence

import structlog
from kafka import errors as kafka_errors

from pipeline.adapters.kafka.client import POLL_MS, consumer, partition_counts, records
from pipeline.adapters.kafka.errors import translated
from pipeline.adapters.kafka.security.access import cluster_at
from pipeline.ports import Record

_log = structlog.get_logger()


def follow(
    bootstrap: str,
    group: str,
    topics: Sequence[str],
    *,
    work: Callable[[list[Record]], None],
    flush: Callable[[], None],
    stopping: Callable[[], bool],
    session_timeout: float = 10.0,
) -> None:
    """Polls, calls ``work(records)``, then ``flush()``, then commits; until ``stopping()``.

    At least once: what a killed worker had not committed comes again, here or at another worker of the group. A new
    group begins at the start of the topics. ``session_timeout``: seconds until a dead worker loses its partitions.
    Raises TopicMissing, BrokerUnavailable, and what ``work`` and ``flush`` raise; nothing is committed then.
    """
    cluster = cluster_at(bootstrap)
    partition_counts(cluster, topics)
    source = consumer(
        bootstrap,
        group_id=cluster.topic(group),
        auto_offset_reset="earliest",
        max_poll_records=2_000,
        session_timeout_ms=int(session_timeout * 1000),
        heartbeat_interval_ms=int(session_timeout * 1000 / 3),
    )
    try:
        with translated(bootstrap):
            source.subscribe([cluster.topic(topic) for topic in topics])
            while not stopping():
                batch = records(cluster, source.poll(timeout_ms=POLL_MS))
                if not batch:
                    continue
                work(batch)
                flush()
                try:
                    source.commit()
                except kafka_errors.CommitFailedError:
                    _log.warning("partitions_taken_away", group=group, again=len(batch))
    finally:
        source.close(autocommit=False, timeout_ms=2000)
