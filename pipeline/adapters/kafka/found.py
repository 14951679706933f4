"""Topics as a broker has them now: which ones they are, how many partitions they have, and where these end."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kafka import TopicPartition
from kafka.admin import OffsetSpec

from pipeline.adapters.kafka.client import admin, described, missing
from pipeline.adapters.kafka.errors import gone
from pipeline.adapters.kafka.security.access import cluster_at
from pipeline.ports import BrokerUnavailable


class TopicFound(NamedTuple):
    """``id``: "" where the broker tells none; a topic that is made anew has another."""

    id: str
    partitions: int


def topics_found(bootstrap: str, topics: Sequence[str]) -> dict[str, TopicFound]:
    """The topics as they are now. Never creates one. Raises TopicMissing, BrokerUnavailable."""
    cluster = cluster_at(bootstrap)
    with admin(cluster) as client:
        found = {
            name: TopicFound(_told_id(told.get("topic_id")), len(told["partitions"]))
            for name, told in described(client, cluster, topics).items()
        }
    for topic in topics:
        if topic not in found:
            raise missing(cluster, topic)
    return found


def ends_of(bootstrap: str, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The offset after the last message of each partition; the embedded broker names the first message of the last
    batch. Cheaper than ``KafkaLog.end``. Raises TopicMissing, BrokerUnavailable."""
    cluster = cluster_at(bootstrap)
    asked = {TopicPartition(cluster.topic(topic), n): OffsetSpec.LATEST for topic, n in partitions}
    if not asked:
        return {}
    with admin(bootstrap) as client:
        found = client.list_partition_offsets(asked)
    for tp in asked:
        if tp not in found or found[tp].offset < 0:
            raise gone(tp)
    return {(cluster.name(tp.topic), tp.partition): told.offset for tp, told in found.items()}


def committed_of(bootstrap: str, group: str, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The offset that the group goes on from in each partition, 0 where it has never committed one.

    Raises BrokerUnavailable, AccessRefused.
    """
    cluster = cluster_at(bootstrap)
    asked = [TopicPartition(cluster.topic(topic), n) for topic, n in partitions]
    if not asked:
        return {}
    name = cluster.topic(group)
    with admin(bootstrap) as client:
        found = client.list_group_offsets({name: asked})[name]
    return {(cluster.name(tp.topic), tp.partition): max(0, told.offset) for tp, told in found.items()}


def members_of(bootstrap: str, groups: Sequence[str]) -> dict[str, int]:
    """How many are in each consumer group now, 0 if there is none of that name. Raises BrokerUnavailable,
    AccessRefused."""
    cluster = cluster_at(bootstrap)
    with admin(cluster) as client:
        told = client.describe_groups([cluster.topic(group) for group in groups])
    for name, group in told.items():
        if group["error"] and group["group_state"] != "Dead":  # so it tells of a group that is not there
            raise BrokerUnavailable(f"the Kafka broker at {cluster} does not tell of group {name}: {group['error']}")
    return {group: len(told[cluster.topic(group)]["members"]) for group in groups}


def _told_id(found: object) -> str:
    told = str(found or "")
    return told if told.strip("0-") else ""
