"""Preparing a cluster: every topic of ``schemas.topics``, with the configuration that its promise needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from pipeline.adapters.kafka.client import admin, described
from pipeline.adapters.kafka.cluster import Cluster, cluster_of
from pipeline.adapters.kafka.errors import translate
from pipeline.settings import SettingsError
from schemas.topics import TOPICS, Topic

# A table that every agent reads whole gains nothing from partitions, and one keeps all its keys in order.
SINGLE = frozenset({"enforcement", "settings"})
MIN_INSYNC: Final = "min.insync.replicas"


@dataclass(frozen=True)
class TopicReport:
    """What was found or done. ``name``: on the cluster. ``advice`` says what to do about ``differences``; ``warnings``
    are of replicas: what works, and would be lost or stop with a broker. All are empty if all is well."""

    name: str
    status: Literal["created", "present", "differs", "missing"]
    partitions: int
    differences: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Wanted:
    """What topics shall be; 0: as the broker has it."""

    cluster: Cluster
    partitions: int
    replication: int
    min_insync: int

    def config(self, topic: Topic) -> dict[str, str]:
        return topic.config() | ({MIN_INSYNC: str(self.min_insync)} if self.min_insync else {})


def create_topics(
    place: Cluster | str, partitions: int = 4, replication: int = 0, min_insync: int = 0, *, dry_run: bool = False
) -> list[TopicReport]:
    """Creates what is missing, changes nothing that is there, and reports what differs.

    ``partitions``: of all topics but ``enforcement`` and ``settings``, which have one. ``replication``, ``min_insync``:
    see ``Settings``. With ``dry_run`` a topic that would be created is reported as missing. Raises BrokerUnavailable,
    and SettingsError where topics are missing and there are fewer brokers than replicas.
    """
    cluster = cluster_of(place)
    wanted = _Wanted(cluster, partitions, replication, min_insync)
    names = [topic.name for topic in TOPICS]
    with admin(cluster) as client:
        brokers = len(client.describe_cluster()["brokers"])
        before = described(client, cluster, names)
        missing = [topic for topic in TOPICS if topic.name not in before]
        if missing and not dry_run:
            _create(client, wanted, missing, brokers)
        found = described(client, cluster, names) if missing and not dry_run else before
        configs = _configs(client, cluster, sorted(found))
    reports = []
    for topic in TOPICS:
        name, count = cluster.topic(topic.name), partitions_of(topic, partitions)
        there, config = found.get(topic.name, []), configs.get(name, {})
        warnings = _warnings(wanted, there, config, brokers)
        if topic.name in before:
            differences, advice = _compare(wanted, topic, len(there), config)
            status: Literal["differs", "present"] = "differs" if differences else "present"
            reports.append(TopicReport(name, status, len(there), differences, advice, warnings))
        else:
            reports.append(TopicReport(name, "missing" if dry_run else "created", count, warnings=warnings))
    return reports


def partitions_of(topic: Topic, partitions: int) -> int:
    """How many partitions ``topic`` gets where the others get ``partitions``."""
    return 1 if topic.name in SINGLE else partitions


def _create(client: Any, wanted: _Wanted, missing: Sequence[Topic], brokers: int) -> None:
    if wanted.replication > brokers:
        raise SettingsError(
            f"SEKIMORI_REPLICATION: there are {brokers} brokers at {wanted.cluster}, too few for {wanted.replication} "
            f"replicas; set it to {brokers} at most, or start the others"
        )
    asked = {
        wanted.cluster.topic(topic.name): {
            "num_partitions": partitions_of(topic, wanted.partitions),
            "replication_factor": wanted.replication or -1,
            "configs": wanted.config(topic),
        }
        for topic in missing
    }
    answer = client.create_topics(asked, raise_errors=False)
    for topic in answer["topics"]:
        error = kafka_errors.for_code(topic["error_code"])
        # Somebody else preparing at the same time is no error.
        if error not in (kafka_errors.NoError, kafka_errors.TopicAlreadyExistsError):
            raise translate(error(f"{topic['name']}: {topic['error_message']}"), wanted.cluster.bootstrap)
    client.wait_for_topics(list(asked))


def _configs(client: Any, cluster: Cluster, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """By the topics' names on the cluster."""
    if not names:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, cluster.topic(name)) for name in names]
    answer = client.describe_configs(asked, config_filter="all").get("topic", {})
    return {name: {key: entry["value"] for key, entry in found.items()} for name, found in answer.items()}


def _compare(
    wanted: _Wanted, topic: Topic, there: int, config: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What differs, and what to do about it."""
    differences: list[str] = []
    advice: list[str] = []
    name, count = wanted.cluster.topic(topic.name), partitions_of(topic, wanted.partitions)
    if there != count:
        differences.append(f"{there} partitions, not {count}")
        if topic.name in SINGLE:
            advice.append(f"stop all jobs, delete {name}, and prepare again")
        else:
            advice.append(f"keep them with SEKIMORI_PARTITIONS={there}, or stop all jobs, delete it and prepare again")
    # A broker that does not tell a value cannot be said to differ.
    wrong = {k: v for k, v in wanted.config(topic).items() if config.get(k) not in (None, v)}
    differences += [f"{key} is {config[key]}, not {value}" for key, value in wrong.items()]
    if wrong:
        pairs = ",".join(f"{key}={value}" for key, value in wrong.items())
        advice.append(
            f"kafka-configs.sh --bootstrap-server {wanted.cluster} --alter --entity-type topics "
            f"--entity-name {name} --add-config {pairs}"
        )
    return tuple(differences), tuple(advice)


def _warnings(
    wanted: _Wanted, partitions: Sequence[Mapping[str, Any]], config: Mapping[str, str], brokers: int
) -> tuple[str, ...]:
    """``partitions``: as the broker describes those of a topic; none if it is not there."""
    replicas = min((len(partition["replica_nodes"]) for partition in partitions), default=wanted.replication)
    insync = int(config.get(MIN_INSYNC) or wanted.min_insync or 1)
    found = []
    if brokers < wanted.replication:
        found.append(f"there are {brokers} brokers, fewer than SEKIMORI_REPLICATION={wanted.replication}")
    if partitions and replicas < wanted.replication:
        remedy = "kafka-reassign-partitions.sh adds replicas"
        found.append(f"{replicas} replicas, fewer than SEKIMORI_REPLICATION={wanted.replication}; {remedy}")
    elif replicas == 1 < brokers:
        found.append(
            f"one replica on a cluster of {brokers} brokers: with that broker it is lost; SEKIMORI_REPLICATION"
        )
    if replicas and insync > replicas:
        found.append(f"{MIN_INSYNC} is {insync}, more than its {replicas} replicas: nothing can be written")
    elif insync == replicas > 1:
        found.append(
            f"{MIN_INSYNC} is {insync}, as many as there are replicas: nothing can be written while one is down"
        )
    return tuple(found)
