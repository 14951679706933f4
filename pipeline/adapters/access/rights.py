"""The least that each job and command must be allowed on a cluster with authorisation: as a table, as lines for
``kafka-acls.sh``, and looked at when a job starts."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from kafka import errors as kafka_errors

from pipeline.adapters.kafka.client import admin
from pipeline.adapters.kafka.cluster import Cluster
from pipeline.ports import AccessRefused
from schemas import topics
from schemas.topics import TOPICS, Topic

Operation = Literal["READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS"]
Kind = Literal["topic", "group"]


@dataclass(frozen=True)
class Right:
    """What must be allowed on one topic or consumer group, by the name that it has without a prefix. Kafka includes
    DESCRIBE in READ and WRITE."""

    kind: Kind
    name: str
    operations: tuple[Operation, ...]


def _rights(
    read: Sequence[Topic] = (), write: Sequence[Topic] = (), both: Sequence[Topic] = (), group: str = ""
) -> tuple[Right, ...]:
    found = [Right("topic", topic.name, ("READ",)) for topic in read]
    found += [Right("topic", topic.name, ("WRITE",)) for topic in write]
    found += [Right("topic", topic.name, ("READ", "WRITE")) for topic in both]
    return (*found, *([Right("group", group, ("READ",))] if group else []))


RIGHTS: Final[Mapping[str, tuple[Right, ...]]] = {
    "normalize": _rights(
        read=(topics.MAILLOG, topics.AUTHLOG),
        write=(topics.EVENTS, topics.DEAD_LETTERS, topics.TALLIES),
        both=(topics.NORMALIZE_STATE,),
        group="sekimori-normalize",
    ),
    "detect": _rights(
        read=(topics.SETTINGS,),
        write=(topics.DEAD_LETTERS, topics.ENFORCEMENT),
        both=(topics.TALLIES, topics.DETECT_STATE),
        group="sekimori-detect",
    ),
    "enforce": _rights(read=(topics.ENFORCEMENT, topics.SETTINGS)),
    "store": _rights(read=(topics.EVENTS, topics.DEAD_LETTERS, topics.ENFORCEMENT), group="sekimori-store"),
    "ship": _rights(both=(topics.MAILLOG, topics.AUTHLOG)),  # it reads what it had sent before it was killed
    "decisions": _rights(read=(topics.SETTINGS,), both=(topics.ENFORCEMENT,)),
    "allowlist": _rights(read=(topics.ENFORCEMENT,), both=(topics.SETTINGS,)),
    "prepare": tuple(Right("topic", topic.name, ("CREATE", "DESCRIBE", "DESCRIBE_CONFIGS")) for topic in TOPICS),
}
"""By job or command. ``allowlist``: ``sekimori decisions allow`` and ``disallow``."""


def acl_commands(cluster: Cluster, job: str, principal: str) -> Iterator[str]:
    """Lines for a shell that allow ``principal`` what ``job`` needs."""
    by_operations: dict[tuple[Operation, ...], list[Right]] = {}
    for right in RIGHTS[job]:
        by_operations.setdefault(right.operations, []).append(right)
    for operations, rights in by_operations.items():
        asked = [f"--operation {_shown(operation)}" for operation in operations]
        names = [f"--{right.kind} {cluster.topic(right.name)}" for right in rights]
        yield " ".join(
            (
                f"kafka-acls.sh --bootstrap-server {cluster} --command-config admin.properties --add",
                f"--allow-principal '{principal}'",
                *asked,
                *names,
            )
        )


def _shown(operation: Operation) -> str:
    """As Kafka's own tools have it: DescribeConfigs."""
    return operation.title().replace("_", "")


def check_access(cluster: Cluster, job: str) -> None:
    """Raises AccessRefused, which says all that ``job`` lacks, and BrokerUnavailable. A cluster without authorisation
    lacks nothing, nor does a topic that is not there."""
    lacking = [
        f"{' and '.join(map(_shown, missing))} on {right.kind} {cluster.topic(right.name)}"
        for right, allowed in _allowed(cluster, RIGHTS[job])
        if (missing := [operation for operation in right.operations if operation not in allowed])
    ]
    if lacking:
        raise AccessRefused(
            f"the Kafka broker at {cluster} does not allow this user what {job} needs: {', '.join(lacking)}; the ACLs "
            "for it: sekimori prepare --acls"
        )


def _allowed(cluster: Cluster, rights: Sequence[Right]) -> Iterator[tuple[Right, Collection[str]]]:
    """Each right that the broker says something of, and what it allows there."""
    told = False
    with admin(cluster) as client:
        named = {cluster.topic(right.name): right for right in rights if right.kind == "topic"}
        for of in client.describe_topics(list(named)):
            allowed = of["authorized_operations"]
            if of["error_code"] == kafka_errors.TopicAuthorizationFailedError.errno:
                allowed = ()
            if allowed is not None:
                told = True
                yield named[of["name"]], allowed
        for right in rights:
            if right.kind == "group" and told:  # else it is a broker that says nothing of this, or not as Kafka does
                yield from _allowed_group(client, cluster, right)


def _allowed_group(client: Any, cluster: Cluster, right: Right) -> Iterator[tuple[Right, Collection[str]]]:
    group = cluster.topic(right.name)
    try:
        found = client.describe_groups([group], include_authorized_operations=True)[group]
    except kafka_errors.GroupAuthorizationFailedError:
        yield right, ()
        return
    except kafka_errors.KafkaError:
        return  # no coordinator yet: the broker makes its topic of offsets when a group is first asked for
    if found["authorized_operations"]:  # none are told of a group that nobody has joined yet
        yield right, found["authorized_operations"]
