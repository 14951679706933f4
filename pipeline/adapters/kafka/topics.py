"""Preparing a cluster: every topic of ``schemas.topics``, with the configuration that its promise needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from pipeline.adapters.kafka.client import admin
from pipeline.adapters.kafka.errors import translate
from schemas.topics import TOPICS, Topic

# A table that every agent reads whole gains nothing from partitions, and one keeps all its keys in order.
SINGLE = frozenset({"enforcement", "settings"})


@dataclass(frozen=True)
class TopicReport:
    """What was found or done. ``advice`` says what to do about ``differences``; both are empty if all is well."""

    name: str
    status: Literal["created", "present", "differs", "missing"]
    partitions: int
    differences: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


def create_topics(
    bootstrap: str, topics: Sequence[Topic] = TOPICS, partitions: int = 4, dry_run: bool = False
) -> list[TopicReport]:
    """Creates what is missing, changes nothing that is there, and reports what differs.

    ``partitions``: of all topics but ``enforcement`` and ``settings``, which have one. With ``dry_run`` a topic that
    would be created is reported as missing. Replication is the broker's default. Raises BrokerUnavailable.
    """
    with admin(bootstrap) as client:
        described = client.describe_topics([t.name for t in topics])
        present = {t["name"]: len(t["partitions"]) for t in described if not t["error_code"]}
        missing = [t for t in topics if t.name not in present]
        if missing and not dry_run:
            _create(client, bootstrap, missing, partitions)
        configs = _configs(client, [t.name for t in topics if t.name in present])
    reports = []
    for topic in topics:
        wanted = partitions_of(topic, partitions)
        if topic.name not in present:
            reports.append(TopicReport(topic.name, "missing" if dry_run else "created", wanted))
        else:
            reports.append(_compare(topic, wanted, present[topic.name], configs.get(topic.name, {}), bootstrap))
    return reports


def partitions_of(topic: Topic, partitions: int) -> int:
    """How many partitions ``topic`` gets where the others get ``partitions``."""
    return 1 if topic.name in SINGLE else partitions


def _create(client: Any, bootstrap: str, missing: Sequence[Topic], partitions: int) -> None:
    wanted = {
        t.name: {"num_partitions": partitions_of(t, partitions), "replication_factor": -1, "configs": t.config()}
        for t in missing
    }
    answer = client.create_topics(wanted, raise_errors=False)
    for topic in answer["topics"]:
        error = kafka_errors.for_code(topic["error_code"])
        # Somebody else preparing at the same time is no error.
        if error not in (kafka_errors.NoError, kafka_errors.TopicAlreadyExistsError):
            raise translate(error(f"{topic['name']}: {topic['error_message']}"), bootstrap)
    client.wait_for_topics(list(wanted))


def _configs(client: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    answer = client.describe_configs(asked, config_filter="all").get("topic", {})
    return {name: {key: entry["value"] for key, entry in found.items()} for name, found in answer.items()}


def _compare(topic: Topic, wanted: int, there: int, config: dict[str, str], bootstrap: str) -> TopicReport:
    differences: list[str] = []
    advice: list[str] = []
    if there != wanted:
        differences.append(f"{there} partitions, not {wanted}")
        if topic.name in SINGLE:
            advice.append(f"stop all jobs, delete {topic.name}, and prepare again")
        else:
            advice.append(f"keep them with SEKIMORI_PARTITIONS={there}, or stop all jobs, delete it and prepare again")
    # A broker that does not tell a value cannot be said to differ.
    wrong = {k: v for k, v in topic.config().items() if config.get(k) not in (None, v)}
    differences += [f"{key} is {config[key]}, not {value}" for key, value in wrong.items()]
    if wrong:
        pairs = ",".join(f"{key}={value}" for key, value in wrong.items())
        advice.append(
            f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics "
            f"--entity-name {topic.name} --add-config {pairs}"
        )
    status: Literal["differs", "present"] = "differs" if differences else "present"
    return TopicReport(topic.name, status, there, tuple(differences), tuple(advice))
