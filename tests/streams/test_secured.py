"""A provider's own Apache Kafka, with TLS, SASL and authorisation: every job and command with the least rights."""

import argparse
import json
import re
import shlex
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from pipeline.adapters.demo.broker import free_port
from pipeline.adapters.kafka.client import admin
from pipeline.adapters.kafka.security.acls import JOBS, Grant, check_access, grants_of
from pipeline.ports import AccessRefused
from schemas.topics import TOPICS
from tests.support.cluster import Command, Job, running, wait_for
from tests.support.lines import spam
from tests.support.secured import MTLS, WAYS, SecuredKafka
from tests.support.servers import ClickHouseServer, sekimori

pytestmark = pytest.mark.servers
PARTITIONS = 2
USERS = {job: f"sekimori-{job}" for job in JOBS}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """Its topics made, by a user who may do just that; each job's user has the rights that ``--acls`` printed."""
    with SecuredKafka(tmp_path_factory.mktemp("secured"), *USERS.values(), "stranger") as kafka:
        for line in run(kafka, "stranger", "prepare", "--acls").stdout.splitlines():
            if not line.startswith("#"):
                allow(kafka, *shlex.split(line))
        made = run(kafka, USERS["prepare"], "prepare", "--json", SEKIMORI_PARTITIONS=str(PARTITIONS))
        assert made.returncode == 0, made.stderr
        assert [json.loads(line)["status"] for line in made.stdout.splitlines()] == ["created"] * len(TOPICS)
        yield kafka


def allow(kafka: SecuredKafka, tool: str, *words: str) -> None:
    """Does what a line says. Apache's own tool shows for one job that it takes such lines; it needs seconds for each,
    so that the others are read here."""
    assert tool == "kafka-acls.sh"
    line = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--bootstrap-server", "--allow-principal"):
        line.add_argument(name, required=True)
    line.add_argument("--add", action="store_true", required=True)
    for name in ("--operation", "--topic", "--group"):
        line.add_argument(name, action="append", default=[])
    read = line.parse_args(words)
    if read.allow_principal == f"User:{USERS['store']}":
        kafka.tool("org.apache.kafka.tools.AclCommand", *words)
        return
    patterns = [ResourcePattern(ResourceType.TOPIC, name) for name in read.topic]
    patterns += [ResourcePattern(ResourceType.GROUP, name) for name in read.group]
    with admin(kafka.cluster()) as client:
        operations = [operation_of(name) for name in read.operation]
        client.create_acls([acl(read.allow_principal, of, pattern) for of in operations for pattern in patterns])


def operation_of(name: str) -> ACLOperation:
    return ACLOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()]


def acl(principal: str, operation: ACLOperation, pattern: ResourcePattern) -> ACL:
    return ACL(principal, "*", operation, ACLPermissionType.ALLOW, pattern)


def run(kafka: SecuredKafka, user: str, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin"} | kafka.environment(user) | more
    return subprocess.run(sekimori(*arguments), env=env, capture_output=True, text=True, timeout=90, check=False)


def job(kafka: SecuredKafka, name: str, way: str, *arguments: str, **settings: str) -> Job:
    given = kafka.settings(USERS[name], way) | {"partitions": str(PARTITIONS)} | settings
    made = Command if name == "ship" else Job
    return made(name, given.pop("brokers"), kafka.folder, *arguments, **given)


def answer(port: int, account: str) -> str:
    """What Postfix is told of a mail of the account."""
    request = f"request=smtpd_access_policy\nprotocol_state=RCPT\nsasl_username={account}\nsender={account}\n"
    request += "client_address=198.18.5.5\nrecipient=somebody@example.net\n\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as agent:
            agent.sendall(request.encode())
            return agent.makefile("r", encoding="utf-8").readline().strip().removeprefix("action=")
    except ConnectionRefusedError:
        return "nobody there"


@pytest.mark.parametrize("way", WAYS)
def test_the_whole_flow_by_each_way_in(kafka: SecuredKafka, way: str, tmp_path: Path) -> None:
    account, port = f"{way.lower()}@x.example", free_port()
    policy, state = f"--policy=127.0.0.1:{port}", f"--state={tmp_path}"
    jobs = [job(kafka, "normalize", way), job(kafka, "detect", way), job(kafka, "enforce", way, policy)]
    with running(*jobs):
        wait_for(lambda: answer(port, account).startswith("DUNNO"), "the agent", 30, *jobs)
        ship = job(kafka, "ship", way, str(spam(tmp_path, account)), "--host=mx", state)
        assert ship.process.wait(60) == 0, ship.log.read_text()
        wait_for(lambda: not answer(port, account).startswith("DUNNO"), f"the stop of {account}", 60, *jobs)
        assert [one.stop() for one in jobs] == [0, 0, 0]


@contextmanager
def without(kafka: SecuredKafka, job: str, right: Grant, operation: str) -> Iterator[None]:
    """While it lasts, the job's user has one right less."""
    pattern = ResourcePattern(ResourceType[right.resource.upper()], right.name)
    one = acl(f"User:{USERS[job]}", operation_of(operation), pattern)
    with admin(kafka.cluster()) as client:
        client.delete_acls([one])
        try:
            yield
        finally:
            client.create_acls([one])


EACH = [(job, right, operation) for job in JOBS for right in grants_of(job) for operation in right.operations]


def test_a_job_with_its_rights_is_let_in_and_any_that_is_missing_is_named(kafka: SecuredKafka) -> None:
    for job in JOBS:
        check_access(kafka.cluster(USERS[job]), job)
    for job, right, operation in EACH:
        if operation == "Describe" and {"Read", "Write", "Alter"} & set(right.operations):
            continue  # these include it
        with without(kafka, job, right, operation), pytest.raises(AccessRefused) as refused:
            check_access(kafka.cluster(USERS[job]), job)
        # Without Describe, a topic hides what else is allowed on it.
        assert re.search(rf"\b{operation}\b[\w ]* on {right.resource} {right.name}\b", str(refused.value))


@pytest.mark.parametrize("name", ["normalize", "detect", "store", "ship"])
def test_a_process_ends_and_names_what_it_lacks(
    kafka: SecuredKafka, clickhouse: ClickHouseServer, name: str, tmp_path: Path
) -> None:
    arguments = {"ship": ["ship", spam(tmp_path, "bob@x.example"), "--state", tmp_path]}.get(name, ["run", name])
    right = grants_of(name)[-1]
    with without(kafka, name, right, "Read"):
        ended = run(kafka, USERS[name], *arguments, SEKIMORI_CLICKHOUSE=clickhouse.address, SEKIMORI_PARTITIONS="2")
    assert ended.returncode == 1
    assert f"Read on {right.resource} {right.name}; the ACLs for it: sekimori" in ended.stderr


def decide(kafka: SecuredKafka, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(kafka, USERS[user], "decisions", *arguments)


def test_operators_need_no_more_than_their_rights(kafka: SecuredKafka) -> None:
    block = ("block", "carol@x.example", "--for", "1h", "--note", "tested")
    for arguments in (
        block,
        ("show", "carol@x.example"),
        ("release", "carol@x.example", "--note", "tested"),
        ("allow", "carol@x.example", "--note", "tested"),
        ("list",),
        ("disallow", "carol@x.example", "--note", "tested"),
    ):
        done = decide(kafka, "decisions", *arguments)
        assert done.returncode == 0, (arguments, done.stderr)
    refused = decide(kafka, "enforce", *block)  # may read, and not write
    assert refused.returncode == 2
    assert "an ACL is missing; sekimori prepare --acls" in refused.stderr


@pytest.mark.parametrize("right", grants_of("decisions"), ids=lambda right: right.name)
def test_an_operator_without_one_right_is_told(kafka: SecuredKafka, right: Grant) -> None:
    with without(kafka, "decisions", right, "Read"):
        refused = decide(kafka, "decisions", "show", "carol@x.example")
    assert refused.returncode == 2
    assert "an ACL is missing; sekimori prepare --acls" in refused.stderr


@pytest.mark.parametrize("right", grants_of("enforce"), ids=lambda right: right.name)
def test_an_agent_without_one_right_says_so_and_goes_on(kafka: SecuredKafka, right: Grant) -> None:
    with without(kafka, "enforce", right, "Read"):
        agent = job(kafka, "enforce", "PLAIN", f"--policy=127.0.0.1:{free_port()}")
        with running(agent):
            wait_for(lambda: "an ACL is missing" in agent.log.read_text(), "the words", 30, agent)
            assert agent.stop() == 0


@pytest.mark.parametrize("way", WAYS)
def test_who_is_not_let_in_is_told_why_and_no_password_is_shown(kafka: SecuredKafka, way: str, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("wr0ng\n")
    wrong.chmod(0o600)
    given = kafka.environment("stranger", way) | {"PATH": "/usr/bin:/bin"}
    if way == MTLS:
        given |= dict.fromkeys(("SEKIMORI_KAFKA_CERTIFICATE", "SEKIMORI_KAFKA_KEY"), "")
        words = "does not accept our certificate, or asks for one; see SEKIMORI_KAFKA_CERTIFICATE"
    else:
        given["SEKIMORI_KAFKA_PASSWORD_FILE"] = str(wrong)
        words = "does not accept the user or the password; see SEKIMORI_KAFKA_USER and SEKIMORI_KAFKA_PASSWORD_FILE"
    for arguments in (["decisions", "list"], ["prepare", "--wait", "0"], ["settings"]):
        ended = subprocess.run(sekimori(*arguments), env=given, capture_output=True, text=True, timeout=90, check=False)
        assert (words in ended.stderr) == (arguments != ["settings"]), ended.stderr
        assert "wr0ng" not in ended.stdout + ended.stderr
