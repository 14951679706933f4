"""TLS, SASL, certificates of clients and ACLs, on Apache Kafka: every job works with just what it needs."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.adapters.kafka.topics import create_topics
from tests.support.cluster import RECORDED, Command, Job, decisions, feed, running, wait_for
from tests.support.secured import PASSWORD, SecuredKafka
from tests.support.servers import free_port, sekimori

WAYS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "mTLS")
REFERENCE_MS = 1_795_485_300_000


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with SecuredKafka(tmp_path_factory.mktemp("secured")) as broker:
        create_topics(broker.bootstrap, partitions=1)
        yield broker


def run(kafka: SecuredKafka, how: str, *words: str, name: str = "") -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEKIMORI_")}
    env |= {f"SEKIMORI_{key.upper()}": value for key, value in kafka.settings(how, name).items()}
    return subprocess.run(sekimori(*words), capture_output=True, text=True, timeout=90, check=False, env=env)


@pytest.mark.servers
@pytest.mark.parametrize("how", WAYS)
def test_nothing_is_allowed_that_was_not_granted_and_that_is_said(kafka: SecuredKafka, how: str) -> None:
    told = run(kafka, how, "decisions", "list", name="stranger")
    assert told.returncode == 2
    assert "Traceback" not in told.stderr
    assert "an ACL is missing" in told.stderr or "there is no topic enforcement" in told.stderr
    assert PASSWORD not in told.stderr + told.stdout


@pytest.mark.servers
def test_a_wrong_password_is_said(kafka: SecuredKafka, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("guess")
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEKIMORI_")}
    settings = kafka.settings("SCRAM-SHA-256") | {"kafka_password_file": str(tmp_path / "wrong")}
    env |= {f"SEKIMORI_{key.upper()}": value for key, value in settings.items()}
    words = sekimori("decisions", "list")
    told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert told.returncode == 2
    assert "does not accept the user or the password" in told.stderr


@pytest.mark.servers
def test_every_job_works_with_just_what_it_needs(
    kafka: SecuredKafka, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """The jobs sign on in different ways; each has a name of its own, where certificates tell it."""
    for job, principal in (
        ("normalize", "User:plain"),
        ("detect", "User:scram"),
        ("enforce", "User:CN=agent"),
        ("ship", "User:CN=shipper"),
        ("decisions", "User:CN=operator"),
        ("prepare", "User:CN=preparer"),
    ):
        kafka.grant(job, principal)
    assert run(kafka, "mTLS", "prepare", "--partitions", "1", name="preparer").returncode == 0
    port = free_port()
    shipped = Command(
        "ship", "", tmp_path, str(RECORDED / "mail.log"), "--topic", "maillog", **kafka.settings("mTLS", "shipper")
    )
    jobs = (
        Job("normalize", "", tmp_path, partitions="1", **kafka.settings("PLAIN")),
        Job("detect", "", tmp_path, partitions="1", **kafka.settings("SCRAM-SHA-512")),
        Job("enforce", "", tmp_path, f"--policy=127.0.0.1:{port}", **kafka.settings("mTLS", "agent")),
    )
    with running(*jobs, shipped):
        wait_for(lambda: shipped.process.poll() is not None, "shipped", 60, *jobs)
        assert shipped.process.returncode == 0, shipped.log.read_text()
        feed(kafka.bootstrap, REFERENCE_MS, authlog=(RECORDED / "dovecot.log", 0))
        wait_for(lambda: len(decisions(kafka.bootstrap)) > 50, "decisions", 90, *jobs)
        wait_for(lambda: "decisions_read" in jobs[2].log.read_text(), "the agent has read", 30, *jobs)
        note = ("--for", "2h", "--note", "tested")
        assert run(kafka, "mTLS", "decisions", "block", "mallory@x.example", *note, name="operator").returncode == 0
        told = run(kafka, "mTLS", "decisions", "show", "mallory@x.example", "--json", name="operator")
        assert "mallory@x.example" in told.stdout
    logs = "".join(job.log.read_text() for job in (*jobs, shipped))
    assert PASSWORD not in logs
    assert "uthorization" not in logs
