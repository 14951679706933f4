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

from pipeline.adapters.access.rights import RIGHTS, Right, check_access
from pipeline.adapters.demo.broker import free_port
from pipeline.adapters.kafka.client import admin
from pipeline.ports import AccessRefused
from schemas.topics import TOPICS
from tests.support.cluster import Command, Job, running, wait_for
from tests.support.lines import spam
from tests.support.secured import MTLS, WAYS, SecuredKafka
from tests.support.servers import ClickHouseServer, sekimori

pytestmark = pytest.mark.servers
PARTITIONS = 2
JOBS = {job: f"sekimori-{job}" for job in RIGHTS}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """Its topics made, by a user who may do just that; each job's user has the rights that ``--acls`` printed."""
    with SecuredKafka(tmp_path_factory.mktemp("secured"), *JOBS.values(), "stranger") as kafka:
        for line in run(kafka, "stranger", "prepare", "--acls").stdout.splitlines():
            if not line.startswith("#"):
                allow(kafka, *shlex.split(line))
        made = run(kafka, JOBS["prepare"], "prepare", "--json", SEKIMORI_PARTITIONS=str(PARTITIONS))
        assert made.returncode == 0, made.stderr
        assert [json.loads(line)["status"] for line in made.stdout.splitlines()] == ["created"] * len(TOPICS)
        yield kafka


def allow(kafka: SecuredKafka, tool: str, *words: str) -> None:
    """Does what a line says. Apache's own tool shows for two jobs that it takes such lines; it needs seconds for each,
    so that the others are read here."""
    assert tool == "kafka-acls.sh"
    line = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--bootstrap-server", "--command-config", "--allow-principal"):
        line.add_argument(name, required=True)
    line.add_argument("--add", action="store_true", required=True)
    for name in ("--operation", "--topic", "--group"):
        line.add_argument(name, action="append", default=[])
    read = line.parse_args(words)
    if read.allow_principal in (f"User:{JOBS['normalize']}", f"User:{JOBS['prepare']}"):
        at = words.index("--command-config")
        kafka.tool("org.apache.kafka.tools.AclCommand", *words[:at], *words[at + 2 :])
        return
    patterns = [ResourcePattern(ResourceType.TOPIC, name) for name in read.topic]
    patterns += [ResourcePattern(ResourceType.GROUP, name) for name in read.group]
    with admin(kafka.cluster()) as client:
        operations = [ACLOperation[name.upper()] for name in read.operation]
        client.create_acls([acl(read.allow_principal, of, pattern) for of in operations for pattern in patterns])


def acl(principal: str, operation: ACLOperation, pattern: ResourcePattern) -> ACL:
    return ACL(principal, "*", operation, ACLPermissionType.ALLOW, pattern)


def run(kafka: SecuredKafka, user: str, *arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin"} | kafka.environment(user) | more
    return subprocess.run(sekimori(*arguments), env=env, capture_output=True, text=True, timeout=90, check=False)


def job(kafka: SecuredKafka, name: str, way: str, *arguments: str, **settings: str) -> Job:
    given = kafka.settings(JOBS[name], way) | {"partitions": str(PARTITIONS)} | settings
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
def without(kafka: SecuredKafka, job: str, right: Right, operation: str) -> Iterator[None]:
    """While it lasts, the job's user has one right less."""
    pattern = ResourcePattern(ResourceType[right.kind.upper()], right.name)
    one = acl(f"User:{JOBS[job]}", ACLOperation[operation], pattern)
    with admin(kafka.cluster()) as client:
        client.delete_acls([one])
        try:
            yield
        finally:
            client.create_acls([one])


EACH = [(job, right, operation) for job, rights in RIGHTS.items() for right in rights for operation in right.operations]


def test_a_job_with_its_rights_is_let_in_and_any_that_is_missing_is_named(kafka: SecuredKafka) -> None:
    for job in RIGHTS:
        check_access(kafka.cluster(JOBS[job]), job)
    for job, right, operation in EACH:
        with without(kafka, job, right, operation), pytest.raises(AccessRefused) as refused:
            check_access(kafka.cluster(JOBS[job]), job)
        named = operation.title().replace("_", "")  # without Describe, a topic hides what else is allowed on it
        assert re.search(rf"\b{named}\b[\w ]* on {right.kind} {right.name}\b", str(refused.value))


@pytest.mark.parametrize("name", ["normalize", "detect", "store", "ship"])
def test_a_process_ends_and_names_what_it_lacks(
    kafka: SecuredKafka, clickhouse: ClickHouseServer, name: str, tmp_path: Path
) -> None:
    arguments = {"ship": ["ship", spam(tmp_path, "bob@x.example"), "--state", tmp_path]}.get(name, ["run", name])
    right = RIGHTS[name][-1]
    with without(kafka, name, right, right.operations[-1]):
        ended = run(kafka, JOBS[name], *arguments, SEKIMORI_CLICKHOUSE=clickhouse.address, SEKIMORI_PARTITIONS="2")
    assert ended.returncode == 1
    assert f"{right.operations[-1].title()} on {right.kind} {right.name}; the ACLs for it: sekimori" in ended.stderr


def decide(kafka: SecuredKafka, user: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(kafka, JOBS[user], "decisions", *arguments)


def test_operators_need_no_more_than_their_rights(kafka: SecuredKafka) -> None:
    hold = ("hold", "carol@x.example", "--for", "1h", "--note", "tested")
    for user, arguments in (
        ("decisions", hold),
        ("decisions", ("show", "carol@x.example")),
        ("decisions", ("release", "carol@x.example", "--note", "tested")),
        ("allowlist", ("allow", "carol@x.example", "--note", "tested")),
        ("allowlist", ("list",)),
        ("allowlist", ("disallow", "carol@x.example", "--note", "tested")),
    ):
        done = decide(kafka, user, *arguments)
        assert done.returncode == 0, (arguments, done.stderr)
    for user, arguments in (("allowlist", hold), ("decisions", ("allow", "carol@x.example", "--note", "tested"))):
        refused = decide(kafka, user, *arguments)
        assert refused.returncode == 2
        assert "an ACL is missing; sekimori prepare --acls" in refused.stderr


@pytest.mark.parametrize("name", ["decisions", "allowlist"])
def test_an_operator_without_one_right_is_told(kafka: SecuredKafka, name: str) -> None:
    for right in RIGHTS[name]:
        with without(kafka, name, right, "READ"):
            refused = decide(kafka, name, "show", "carol@x.example")
        if right.operations == ("READ",):  # with Write alone, a topic can be seen and not be read
            assert refused.returncode == 2
            assert f"{right.name}" in refused.stderr
        assert refused.returncode == 2
        assert "an ACL is missing; sekimori prepare --acls" in refused.stderr


@pytest.mark.parametrize("right", RIGHTS["enforce"], ids=lambda right: right.name)
def test_an_agent_without_one_right_says_so_and_goes_on(kafka: SecuredKafka, right: Right) -> None:
    agent = None
    with without(kafka, "enforce", right, "READ"):
        agent = job(kafka, "enforce", "PLAIN", f"--policy=127.0.0.1:{free_port()}")
        with running(agent):
            wait_for(lambda: "an ACL is missing" in agent.log.read_text(), "the words", 30, agent)
            assert right.name in agent.log.read_text()
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
