"""The least that each job needs, as commands of Kafka's own."""

import re

from pipeline.adapters.kafka.security.acls import GROUPS, NEEDS, as_commands, grants_of
from schemas.topics import TOPICS
from tests.support.paths import ROOT


def test_every_topic_is_written_and_read_by_somebody() -> None:
    topics = set(TOPICS)
    assert {topic for need in NEEDS.values() for topic in need.reads} == topics
    assert {topic for need in NEEDS.values() for topic in need.writes} == topics


def test_nobody_but_those_who_decide_may_write_decisions() -> None:
    assert {job for job, need in NEEDS.items() for topic in need.writes if topic.name == "enforcement"} == {
        "detect",
        "decisions",
    }


def test_as_commands() -> None:
    assert as_commands("store", "User:CN=store", "k:9092") == [
        "kafka-acls.sh --bootstrap-server k:9092 --add --allow-principal User:CN=store "
        f"--operation Read --operation Describe --{resource} {name}"
        for resource, name in (
            ("topic", "events"),
            ("topic", "dead-letters"),
            ("topic", "enforcement"),
            ("group", "sekimori-store"),
        )
    ]
    assert all("Write" not in grant.operations for grant in grants_of("enforce"))


def test_the_page_says_the_same() -> None:
    rows = {}
    for row in re.findall(r"^\| `(\w+)` \|(.*)\|$", (ROOT / "docs/kafka.md").read_text(), re.M):
        rows[row[0]] = [tuple(re.findall(r"`([^`]+)`", cell)) for cell in row[1].split("|")]
    for job, need in NEEDS.items():
        reads, writes = (tuple(topic.name for topic in some) for some in (need.reads, need.writes))
        assert rows[job] == [reads, writes, GROUPS.get(job, ())]
