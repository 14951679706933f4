"""What each job may do in a cluster that asks: the least that it works with, as commands that grant it, and
looked at when a job starts."""

import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

from kafka import errors as kafka_errors
from kafka.protocol.consumer import HeartbeatRequest

from pipeline.adapters.kafka.client import admin
from pipeline.adapters.kafka.security.access import Cluster, cluster_at
from pipeline.ports import AccessRefused
from schemas.topics import (
    AUTHLOG,
    DEAD_LETTERS,
    DETECT_STATE,
    ENFORCEMENT,
    EVENTS,
    MAILLOG,
    NORMALIZE_STATE,
    TALLIES,
    TOPICS,
    Topic,
)
from schemas.topics import SETTINGS as SETTINGS_TOPIC

GROUPS: Final = {
    "normalize": ("sekimori-normalize",),
    "detect": ("sekimori-detect", "sekimori-sweep"),
    "store": ("sekimori-store",),
}


class Need(NamedTuple):
    """Of a job. ``reads``, ``writes``: topics. Who may read or write may also describe."""

    reads: tuple[Topic, ...]
    writes: tuple[Topic, ...] = ()


NEEDS: Final[dict[str, Need]] = {
    # What has no key is passed on, so that it writes to what it reads.
    "normalize": Need(
        (MAILLOG, AUTHLOG, NORMALIZE_STATE), (EVENTS, DEAD_LETTERS, TALLIES, NORMALIZE_STATE, MAILLOG, AUTHLOG)
    ),
    # What it accuses goes round, and what operators release it reads.
    "detect": Need(
        (TALLIES, SETTINGS_TOPIC, ENFORCEMENT, DETECT_STATE), (ENFORCEMENT, DEAD_LETTERS, TALLIES, DETECT_STATE)
    ),
    "store": Need((EVENTS, DEAD_LETTERS, ENFORCEMENT)),
    "enforce": Need((ENFORCEMENT, SETTINGS_TOPIC)),
    # After a crash it reads what has arrived.
    "ship": Need((MAILLOG, AUTHLOG), (MAILLOG, AUTHLOG)),
    "decisions": Need((ENFORCEMENT, SETTINGS_TOPIC), (ENFORCEMENT, SETTINGS_TOPIC)),
}


JOBS: Final = ("prepare", *NEEDS)


class Grant(NamedTuple):
    """An ACL to be added. ``resource``: ``topic`` or ``group``."""

    resource: str
    name: str
    operations: tuple[str, ...]


def grants_of(job: str) -> list[Grant]:
    """The least that a job needs; ``prepare`` is one, too. Raises KeyError."""
    if job == "prepare":
        return [Grant("topic", topic.name, ("Create", "Describe", "DescribeConfigs", "Alter")) for topic in TOPICS]
    need, granted = NEEDS[job], []
    for topic in dict.fromkeys((*need.reads, *need.writes)):
        operations = (("Read",) if topic in need.reads else ()) + (("Write",) if topic in need.writes else ())
        granted.append(Grant("topic", topic.name, (*operations, "Describe")))
    return granted + [Grant("group", group, ("Read", "Describe")) for group in GROUPS.get(job, ())]


def as_commands(job: str, principal: str, bootstrap: str) -> list[str]:
    """Kafka's own commands that grant a job's needs to a principal such as ``User:sekimori-detect``."""
    commands, cluster = [], cluster_at(bootstrap)
    for grant in grants_of(job):
        operations = " ".join(f"--operation {operation}" for operation in grant.operations)
        commands.append(
            f"kafka-acls.sh --bootstrap-server {shlex.quote(bootstrap)} --add --allow-principal "
            f"{shlex.quote(principal)} {operations} --{grant.resource} {shlex.quote(cluster.topic(grant.name))}"
        )
    return commands


def check_access(bootstrap: str, job: str) -> None:
    """Raises AccessRefused, which says all that ``job`` lacks, and BrokerUnavailable.

    A cluster without an authorizer lacks nothing, nor does a topic that is not there.
    """
    cluster = cluster_at(bootstrap)
    lacking = [
        f"{' and '.join(missing)} on {grant.resource} {cluster.topic(grant.name)}"
        for grant, allowed in _allowed(cluster, grants_of(job))
        if (missing := [operation for operation in grant.operations if _told(operation) not in allowed])
    ]
    if lacking:
        raise AccessRefused(
            f"the Kafka broker at {cluster} does not allow this user what {job} needs: {', '.join(lacking)}; the ACLs "
            "for it: sekimori prepare --acls"
        )


def _told(operation: str) -> str:
    """DescribeConfigs, as the client library has it: DESCRIBE_CONFIGS."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()


def _allowed(cluster: Cluster, grants: Sequence[Grant]) -> Iterator[tuple[Grant, Collection[str]]]:
    """Each grant that the broker says something of, and what it allows there."""
    told = False
    with admin(cluster) as client:
        named = {cluster.topic(grant.name): grant for grant in grants if grant.resource == "topic"}
        for of in client.describe_topics(list(named)):
            allowed = of["authorized_operations"]
            if of["error_code"] == kafka_errors.TopicAuthorizationFailedError.errno:
                allowed = ()
            if allowed is not None:
                told = True
                yield named[of["name"]], allowed
        for grant in grants:
            if grant.resource == "group" and told:  # else it is a broker that says nothing of this, or not as Kafka
                yield grant, _allowed_group(client, cluster.topic(grant.name))


def _allowed_group(client: Any, group: str) -> Collection[str]:
    """Of a group that nobody has joined yet a broker tells no rights. But to the heartbeat of a member that it does not
    know it answers first whether such a one may read."""
    beat = HeartbeatRequest(group_id=group, generation_id=-1, member_id="", group_instance_id=None)
    answer = client._manager.run(client._manager.send, beat)  # there is no method for it
    if answer.error_code != kafka_errors.GroupAuthorizationFailedError.errno:
        return ("READ", "DESCRIBE")
    try:
        client.describe_groups([group])
    except kafka_errors.GroupAuthorizationFailedError:
        return ()
    except kafka_errors.KafkaError:
        pass  # no coordinator yet, or no such group: it was asked for it all the same
    return ("DESCRIBE",)
