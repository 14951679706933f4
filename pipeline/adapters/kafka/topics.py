"""Preparing a cluster: every topic of ``schemas.topics``, with the configuration that its promise needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from pipeline.adapters.kafka.client import admin, described
from pipeline.adapters.kafka.errors import translate
from pipeline.adapters.kafka.security.access import Cluster, cluster_at
from pipeline.settings import SettingsError
from schemas.topics import TOPICS, Topic

# A table that every agent reads whole gains nothing from partitions, and one keeps all its keys in order.
SINGLE = frozenset({"enforcement", "settings"})
# Subjects are spread over these, and what is counted of each lies where it is.
STATES = "detect-state"  # more of it than of tallies do no harm, and remain of a change that was broken off
COUNTED = frozenset({"tallies", STATES})
# These may get more at any time; states of lines lie where the lines do.
GROWING = frozenset({"maillog", "authlog", "normalize-state"})
MIN_INSYNC: Final = "min.insync.replicas"
MORE = (
    "twice as many, or three times, and so on, are had with all that was counted: stop normalize and detect, and "
    "sekimori prepare --tallies N; any other number means to count anew: stop normalize and detect, delete tallies and "
    "detect-state, prepare with that number, and set SEKIMORI_PARTITIONS to it; decisions stay, and the counts of the "
    "last day begin at nothing"
)


@dataclass(frozen=True)
class TopicReport:
    """What was found or done. ``advice`` says what to do about ``differences``, which are empty if all is well.
    ``before``: partitions that a topic had before it got more, or would get them. ``name``: on the cluster.
    ``warnings`` are of replicas: what works, and would stop or be lost with a broker."""

    name: str
    status: Literal["created", "present", "differs", "missing", "grown"]
    partitions: int
    differences: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    before: int | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replicas:
    """What topics shall have; 0: what the broker gives. ``least``: ``min.insync.replicas``."""

    number: int = 0
    least: int = 0

    def config(self, topic: Topic) -> dict[str, str]:
        """The configuration that a topic shall have."""
        return topic.config() | ({MIN_INSYNC: str(self.least)} if self.least else {})

    def warnings(
        self, partitions: Sequence[Mapping[str, Any]], config: Mapping[str, str], brokers: int
    ) -> tuple[str, ...]:
        """``partitions``: as the broker describes those of a topic; none if it is not there."""
        replicas = min((len(partition["replica_nodes"]) for partition in partitions), default=self.number)
        least = int(config.get(MIN_INSYNC) or self.least or 1)
        found = []
        if brokers < self.number:
            found.append(f"there are {brokers} brokers, fewer than SEKIMORI_REPLICATION={self.number}")
        if partitions and replicas < self.number:
            remedy = "kafka-reassign-partitions.sh adds replicas"
            found.append(f"{replicas} replicas, fewer than SEKIMORI_REPLICATION={self.number}; {remedy}")
        elif replicas == 1 < brokers:
            found.append(
                f"one replica on a cluster of {brokers} brokers: it is lost with that one; SEKIMORI_REPLICATION"
            )
        if replicas and least > replicas:
            found.append(f"{MIN_INSYNC} is {least}, more than its {replicas} replicas: nothing can be written")
        elif least == replicas > 1:
            found.append(f"{MIN_INSYNC} is {least}, as many as its replicas: while one is down, nothing can be written")
        return tuple(found)


AS_THE_BROKER: Final = Replicas()


def create_topics(
    bootstrap: str,
    topics: Sequence[Topic] = TOPICS,
    partitions: int = 4,
    dry_run: bool = False,
    *,
    grow: bool = False,
    counted: int | None = None,
    replicas: Replicas = AS_THE_BROKER,
) -> list[TopicReport]:
    """Creates what is missing, and reports what differs; with ``grow`` topics of raw lines get more partitions, too.

    ``partitions``: of all topics but ``enforcement`` and ``settings``, which have one. ``counted``: those that
    ``tallies`` and its states may have instead, as the jobs are set to it. With ``dry_run`` nothing is changed, and a
    topic that would be created is reported as missing. Raises BrokerUnavailable, and SettingsError where topics are
    missing and there are fewer brokers than replicas.
    """
    cluster, names = cluster_at(bootstrap), [topic.name for topic in topics]
    with admin(cluster) as client:
        brokers = len(client.describe_cluster()["brokers"])
        found = described(client, cluster, names)
        present = {name: len(told["partitions"]) for name, told in found.items()}
        missing = [t for t in topics if t.name not in present]
        if missing and not dry_run:
            _create(client, cluster, missing, partitions, replicas, brokers)
            found = described(client, cluster, names)
        growing = sorted(name for name in GROWING & present.keys() if grow and present[name] < partitions)
        if growing and not dry_run:
            client.create_partitions({cluster.topic(name): partitions for name in growing})
        configs = _configs(client, cluster, sorted(found))
    reports = []
    for topic in topics:
        wanted = partitions_of(topic, partitions)
        name, config = cluster.topic(topic.name), configs.get(topic.name, {})
        told = found[topic.name]["partitions"] if topic.name in found else ()
        warnings = replicas.warnings(told, config, brokers)
        if topic.name not in present:
            reports.append(TopicReport(name, "missing" if dry_run else "created", wanted, warnings=warnings))
            continue
        there = present[topic.name]
        report = _compare(topic, wanted, there, config, cluster, counted, replicas.config(topic))
        report = replace(report, warnings=warnings)
        if topic.name in growing:
            report = replace(report, partitions=wanted, before=there)
            report = report if report.differences else replace(report, status="grown")
        reports.append(report)
    return reports


def add_partitions(bootstrap: str, topic: str, partitions: int, *, only_ask: bool = False) -> None:
    """Gives a topic so many. ``only_ask``: whether the broker would. Raises BrokerUnavailable, AccessRefused."""
    cluster = cluster_at(bootstrap)
    with admin(cluster) as client:
        client.create_partitions({cluster.topic(topic): partitions}, validate_only=only_ask)


def partitions_of(topic: Topic, partitions: int) -> int:
    """How many partitions ``topic`` gets where the others get ``partitions``."""
    return 1 if topic.name in SINGLE else partitions


def _create(
    client: Any, cluster: Cluster, missing: Sequence[Topic], partitions: int, replicas: Replicas, brokers: int
) -> None:
    if replicas.number > brokers:
        raise SettingsError(
            f"SEKIMORI_REPLICATION: there are {brokers} brokers at {cluster}, too few for {replicas.number} replicas; "
            f"set it to {brokers} at most, or start the others"
        )
    wanted = {
        cluster.topic(topic.name): {
            "num_partitions": partitions_of(topic, partitions),
            "replication_factor": replicas.number or -1,
            "configs": replicas.config(topic),
        }
        for topic in missing
    }
    answer = client.create_topics(wanted, raise_errors=False)
    for topic in answer["topics"]:
        error = kafka_errors.for_code(topic["error_code"])
        # Somebody else preparing at the same time is no error.
        if error not in (kafka_errors.NoError, kafka_errors.TopicAlreadyExistsError):
            raise translate(error(f"{topic['name']}: {topic['error_message']}"), cluster)
    client.wait_for_topics(list(wanted))


def _configs(client: Any, cluster: Cluster, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, cluster.topic(name)) for name in names]
    answer = client.describe_configs(asked, config_filter="all").get("topic", {})
    return {cluster.name(name): {key: entry["value"] for key, entry in found.items()} for name, found in answer.items()}


def _compare(
    topic: Topic,
    wanted: int,
    there: int,
    config: Mapping[str, str],
    cluster: Cluster,
    counted: int | None,
    wanted_config: Mapping[str, str],
) -> TopicReport:
    name = cluster.topic(topic.name)
    differences: list[str] = []
    advice: list[str] = []
    if there != wanted and topic.name in SINGLE:
        differences.append(f"{there} partitions, not {wanted}")
        advice.append(f"stop all jobs, delete {name}, and prepare again")
    elif topic.name in COUNTED and (there < wanted or (there > wanted and topic.name != STATES)):
        if there == counted:
            advice.append(f"{name} keeps its {there} partitions, as SEKIMORI_PARTITIONS={there} says; {MORE}")
        else:
            differences.append(f"{there} partitions, not {wanted}")
            advice.append(f"keep them with SEKIMORI_PARTITIONS={there} for all jobs; {MORE}")
    # A broker that does not tell a value cannot be said to differ.
    wrong = {k: v for k, v in wanted_config.items() if config.get(k) not in (None, v)}
    differences += [f"{key} is {config[key]}, not {value}" for key, value in wrong.items()]
    if wrong:
        pairs = ",".join(f"{key}={value}" for key, value in wrong.items())
        advice.append(
            f"kafka-configs.sh --bootstrap-server {cluster} --alter --entity-type topics "
            f"--entity-name {name} --add-config {pairs}"
        )
    status: Literal["differs", "present"] = "differs" if differences else "present"
    return TopicReport(name, status, there, tuple(differences), tuple(advice))
