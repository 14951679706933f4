"""``sekimori prepare`` against real brokers."""

import json
import subprocess
from pathlib import Path

import pytest

from pipeline.adapters.kafka.client import admin, partition_counts
from pipeline.adapters.kafka.topics import create_topics
from schemas.topics import TOPICS
from tests.support.servers import BROKERS, free_port, sekimori


def prepare(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(sekimori("prepare", *arguments), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.servers
@pytest.mark.parametrize("kind", list(BROKERS))
def test_topics_are_made_once_and_compared_after(kind: str, tmp_path: Path) -> None:
    with BROKERS[kind](tmp_path) as broker:
        for arguments, status in (
            (["--dry-run"], "missing"),
            ([], "created"),
            ([], "present"),
            (["--dry-run"], "present"),
        ):
            result = prepare("--broker", broker.bootstrap, "--partitions", "3", "--json", *arguments)
            assert result.returncode == 0, result.stderr
            reports = [json.loads(line) for line in result.stdout.splitlines()]
            assert [r["name"] for r in reports] == [t.name for t in TOPICS]
            assert {r["status"] for r in reports} == {status}
        counts = partition_counts(broker.bootstrap, [t.name for t in TOPICS])
        assert counts == {t.name: 1 if t.name in ("enforcement", "settings") else 3 for t in TOPICS}
        with admin(broker.bootstrap) as client:
            from kafka.admin import ConfigResource

            names = [ConfigResource("TOPIC", t.name) for t in TOPICS]
            configs = client.describe_configs(names, config_filter="all")["topic"]
        for topic in TOPICS:
            found = {key: entry["value"] for key, entry in configs[topic.name].items()}
            assert topic.config().items() <= found.items()


@pytest.mark.servers
@pytest.mark.parametrize("kind", list(BROKERS))
def test_what_differs_is_left_and_told_with_the_remedy(kind: str, tmp_path: Path) -> None:
    with BROKERS[kind](tmp_path) as broker:
        with admin(broker.bootstrap) as client:
            client.create_topics(
                {
                    "maillog": {"num_partitions": 7, "replication_factor": 1},
                    "tallies": {"num_partitions": 7, "replication_factor": 1},
                    "enforcement": {
                        "num_partitions": 1,
                        "replication_factor": 1,
                        "configs": {"cleanup.policy": "delete", "max.message.bytes": "1048576"},
                    },
                },
                wait_for_metadata=True,
            )
        result = prepare("--broker", broker.bootstrap)
        assert result.returncode == 1
        text = " ".join(result.stdout.split())
        assert "maillog: 7 partitions" not in text
        assert "tallies: 7 partitions, not 4" in text
        assert "SEKIMORI_PARTITIONS=7" in text
        assert "enforcement: cleanup.policy is delete, not compact" in text
        assert f"kafka-configs.sh --bootstrap-server {broker.bootstrap} --alter" in text
        assert "cleanup.policy=compact" in text
        assert partition_counts(broker.bootstrap, ["maillog", "tallies"]) == {"maillog": 7, "tallies": 7}
        reports = {r.name: r.status for r in create_topics(broker.bootstrap, partitions=7)}
        assert reports["detect-state"] == "differs"
        assert reports["settings"] == "present"


@pytest.mark.servers
def test_it_waits_for_the_broker(tmp_path: Path) -> None:
    port = free_port()
    broker = BROKERS["embedded"](tmp_path, port)
    command = sekimori("prepare", "--broker", broker.bootstrap, "--wait", "30")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"waiting for a broker at {broker.bootstrap}\n"
        with broker:
            out, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        assert out.count("created") == len(TOPICS)


def test_no_broker_is_said_in_one_line() -> None:
    address = f"127.0.0.1:{free_port()}"
    result = prepare("--broker", address, "--wait", "0.2")
    assert result.returncode == 1
    assert f"the Kafka broker at {address} does not answer" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_each_job_needs_is_printed_without_a_broker() -> None:
    told = prepare("--broker", "kafka.example:9092", "--acls")
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    jobs = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    assert jobs == ["prepare", "normalize", "detect", "store", "enforce", "ship", "decisions"]
    assert (
        "kafka-acls.sh --bootstrap-server kafka.example:9092 --add --allow-principal User:sekimori-enforce "
        "--operation Read --operation Describe --topic enforcement"
    ) in lines
