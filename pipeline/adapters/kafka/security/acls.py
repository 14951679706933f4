"""What each job may do in a cluster that asks: the least that it works with, and as commands that grant it."""

import shlex
from typing import Final, NamedTuple

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
    commands = []
    for grant in grants_of(job):
        operations = " ".join(f"--operation {operation}" for operation in grant.operations)
        commands.append(
            f"kafka-acls.sh --bootstrap-server {shlex.quote(bootstrap)} --add "
            f"--allow-principal {shlex.quote(principal)} {operations} --{grant.resource} {shlex.quote(grant.name)}"
        )
    return commands
