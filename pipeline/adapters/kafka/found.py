"""Topics as a broker has them now: which ones they are, how many partitions they have, and where these end."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kafka import TopicPartition
from kafka.admin import OffsetSpec

from pipeline.adapters.kafka.client import admin
from pipeline.ports import TopicMissing


class TopicFound(NamedTuple):
    """``id``: "" where the broker tells none; a topic that is made anew has another."""

    id: str
    partitions: int


def topics_found(bootstrap: str, topics: Sequence[str]) -> dict[str, TopicFound]:
    """The topics as they are now. Never creates one. Raises TopicMissing, BrokerUnavailable."""
    with admin(bootstrap) as client:
        found = {
            t["name"]: TopicFound(_told_id(t.get("topic_id")), len(t["partitions"]))
            for t in client.describe_topics(list(topics))
            if not t["error_code"]
        }
    for topic in topics:
        if topic not in found or not found[topic].partitions:
            raise TopicMissing(f"there is no topic {topic} at {bootstrap}; make it with: sekimori prepare")
    return found


def ends_of(bootstrap: str, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The offset after the last message of each partition; the embedded broker names the first message of the last
    batch. Cheaper than ``KafkaLog.end``. Raises TopicMissing, BrokerUnavailable."""
    asked = {TopicPartition(*place): OffsetSpec.LATEST for place in partitions}
    if not asked:
        return {}
    with admin(bootstrap) as client:
        found = client.list_partition_offsets(asked)
    return {tuple(tp): told.offset for tp, told in found.items()}


def _told_id(found: object) -> str:
    told = str(found or "")
    return told if told.strip("0-") else ""
