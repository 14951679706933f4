"""Preparing a cluster: every topic of ``schemas.topics``, with the configuration that its promise needs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from pipeline.adapters.kafka.client import admin
from pipeline.adapters.kafka.errors import translate
from schemas.topics import TOPICS, Topic

# A table that every agent reads whole gains nothing from partitions, and one keeps all its keys in order.
SINGLE = frozenset({"enforcement", "settings"})
# Subjects are spread over these, and what is counted of each lies where it is.
COUNTED = frozenset({"tallies", "detect-state"})
# These may get more at any time; states of lines lie where the lines do.
GROWING = frozenset({"maillog", "authlog", "normalize-state"})
MORE = (
    "another number means to count anew: stop normalize and detect, delete tallies and detect-state, prepare with that "
    "number, and set SEKIMORI_PARTITIONS to it; decisions stay, and the counts of the last day begin at nothing"
)


@dataclass(frozen=True)
class TopicReport:
    """What was found or done. ``advice`` says what to do about ``differences``, which are empty if all is well.
    ``before``: partitions that a topic had before it got more, or would get them."""

    name: str
    status: Literal["created", "present", "differs", "missing", "grown"]
    partitions: int
    differences: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    before: int | None = None


def create_topics(
    bootstrap: str,
    topics: Sequence[Topic] = TOPICS,
    partitions: int = 4,
    dry_run: bool = False,
    *,
    grow: bool = False,
    counted: int | None = None,
) -> list[TopicReport]:
    """Creates what is missing, and reports what differs; with ``grow`` topics of raw lines get more partitions, too.

    ``partitions``: of all topics but ``enforcement`` and ``settings``, which have one. ``counted``: those that
    ``tallies`` and its states may have instead, as the jobs are set to it. With ``dry_run`` nothing is changed, and a
    topic that would be created is reported as missing. Replication is the broker's default. Raises BrokerUnavailable.
    """
    with admin(bootstrap) as client:
        described = client.describe_topics([t.name for t in topics])
        present = {t["name"]: len(t["partitions"]) for t in described if not t["error_code"]}
        missing = [t for t in topics if t.name not in present]
        if missing and not dry_run:
            _create(client, bootstrap, missing, partitions)
        growing = sorted(name for name in GROWING & present.keys() if grow and present[name] < partitions)
        if growing and not dry_run:
            client.create_partitions(dict.fromkeys(growing, partitions))
        configs = _configs(client, [t.name for t in topics if t.name in present])
    reports = []
    for topic in topics:
        wanted = partitions_of(topic, partitions)
        if topic.name not in present:
            reports.append(TopicReport(topic.name, "missing" if dry_run else "created", wanted))
            continue
        there = present[topic.name]
        report = _compare(topic, wanted, there, configs.get(topic.name, {}), bootstrap, counted)
        if topic.name in growing:
            report = replace(report, partitions=wanted, before=there)
            report = report if report.differences else replace(report, status="grown")
        reports.append(report)
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


def _compare(
    topic: Topic, wanted: int, there: int, config: dict[str, str], bootstrap: str, counted: int | None
) -> TopicReport:
    differences: list[str] = []
    advice: list[str] = []
    if there != wanted and topic.name in SINGLE:
        differences.append(f"{there} partitions, not {wanted}")
        advice.append(f"stop all jobs, delete {topic.name}, and prepare again")
    elif there != wanted and topic.name in COUNTED:
        if there == counted:
            advice.append(f"{topic.name} keeps its {there} partitions, as SEKIMORI_PARTITIONS={there} says; {MORE}")
        else:
            differences.append(f"{there} partitions, not {wanted}")
            advice.append(f"keep them with SEKIMORI_PARTITIONS={there} for all jobs; {MORE}")
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
