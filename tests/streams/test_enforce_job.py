"""The agent as a process of its own, on real brokers: what it knows, when it learns it, what it does without Kafka."""

import json
import os
import resource
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.agent.agent import SNAPSHOT
from pipeline.adapters.demo.broker import Child, EmbeddedBroker, free_port
from pipeline.adapters.kafka.client import admin
from pipeline.adapters.kafka.decisions import DecisionTopics
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.topics import create_topics
from schemas.codec import encode
from schemas.enforcement import Decision
from schemas.setting import Setting
from tests.support.decisions import allow, decision
from tests.unit.hooks.test_postfix import request

Eventually = Callable[..., None]

ALICE, BOB = "alice@example.org", "bob@example.org"


class Agent:
    """``sekimori run enforce``, killed when the test ends."""

    def __init__(self, folder: Path, bootstrap: str, eventually: Eventually) -> None:
        self.folder, self.bootstrap, self.eventually = folder, bootstrap, eventually
        self.policy, self.dovecot, self.metrics = free_port(), free_port(), free_port()
        self.log = folder / "agent.log"
        self.child: Child | None = None

    def start(self, open_files: int = 0) -> None:
        listen = [f"--{n}=127.0.0.1:{getattr(self, n)}" for n in ("policy", "dovecot", "metrics")]
        main = "from pipeline.cli import main; main()"
        command = [sys.executable, "-c", main, "run", "enforce", *listen, f"--policy-unix={self.folder / 'policy'}"]
        if open_files:
            command = ["/bin/sh", "-c", f'ulimit -n {open_files} && exec "$@"', "sh", *command]
        self.child = Child(command, self.log)
        self.eventually(self.listens, 20, "the agent listens")

    def listens(self) -> bool:
        assert self.child is not None
        assert self.child.alive(), self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.metrics)) == 0

    def stop(self, signum: int = signal.SIGTERM) -> None:
        if self.child is not None:
            self.child.stop(signum)
            self.child = None

    def freeze(self, signum: int = signal.SIGSTOP) -> None:
        """Until SIGCONT it does nothing."""
        assert self.child is not None
        os.kill(self.child.pid, signum)

    def asks(self, account: str, address: str = "198.51.100.7") -> str:
        """First word of what Postfix is told."""
        with socket.create_connection(("127.0.0.1", self.policy), 5) as connection:
            connection.sendall(request(sasl_username=account, client_address=address) + b"\n\n")
            return connection.recv(4096).decode().removeprefix("action=").split()[0]

    def login(self, account: str) -> int:
        body = json.dumps({"login": account, "remote": "198.51.100.7", "protocol": "imap"}).encode()
        url = f"http://127.0.0.1:{self.dovecot}/?command=allow"
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=5) as answer:
            return int(json.load(answer)["status"])

    def health(self) -> dict[str, Any]:
        """503 while it knows nothing."""
        try:
            opened = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/healthz", timeout=5)
        except urllib.error.HTTPError as error:
            opened = error
        with opened as answer:
            return dict(json.load(answer))

    def metric(self, sample: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=5) as answer:
            found = [line for line in answer.read().decode().splitlines() if line.startswith(f"{sample} ")]
        return float(found[0].split()[-1]) if found else 0.0

    def ready(self) -> None:
        self.eventually(lambda: self.health()["ready"], 20, "the topics are read")


def now_decision(subject: str, **other: Any) -> Decision:
    return decision(subject, **({"issued_at": datetime.now(UTC)} | other))


def write(bootstrap: str, *messages: Decision | Setting | tuple[str, str, bytes | None]) -> None:
    with KafkaOutbox(bootstrap) as outbox:
        for message in messages:
            if isinstance(message, tuple):
                outbox.send(message[0], message[1].encode(), message[2])
            else:
                topic = "enforcement" if isinstance(message, Decision) else "settings"
                outbox.send(topic, message.key.encode(), encode(message))
        outbox.flush()


@pytest.fixture
def agent(
    fresh_broker: EmbeddedBroker, tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Agent]:
    monkeypatch.setenv("SEKIMORI_BROKERS", fresh_broker.bootstrap)
    monkeypatch.setenv("SEKIMORI_STATE_DIR", str(tmp_path / "state"))
    made = Agent(tmp_path, fresh_broker.bootstrap, eventually)
    yield made
    made.stop(signal.SIGKILL)


embedded = pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)


def test_a_decision_holds_at_both_hooks_until_it_is_lifted(agent: Agent, eventually: Eventually) -> None:
    before = now_decision(ALICE)
    write(agent.bootstrap, before)
    agent.start()
    agent.ready()
    assert agent.asks(ALICE) == "REJECT"
    assert (agent.asks(BOB), agent.login(ALICE)) == ("DUNNO", 0)
    write(
        agent.bootstrap, now_decision(BOB, scope="login", action="deny_login"), now_decision("carol@x", mode="shadow")
    )
    eventually(lambda: agent.login(BOB) == -1)
    eventually(lambda: agent.asks("carol@x") == "INFO")
    eventually(lambda: agent.metric('sekimori_enforce_decisions{mode="enforce"}') == 2)
    assert agent.metric("sekimori_enforce_decision_age_seconds_count") == 2
    write(agent.bootstrap, ("enforcement", before.key, None))
    eventually(lambda: agent.asks(ALICE) == "DUNNO")
    entry = allow("198.51.100.0/24", "prefix")
    write(agent.bootstrap, now_decision(ALICE), entry)
    eventually(lambda: agent.metric("sekimori_enforce_allow_entries") == 1)
    assert (agent.asks(ALICE), agent.asks(ALICE, "203.0.113.9")) == ("DUNNO", "REJECT")
    write(agent.bootstrap, ("settings", entry.key, None))
    eventually(lambda: agent.asks(ALICE) == "REJECT")
    agent.stop()
    assert not (agent.folder / "policy").exists()
    assert "Traceback" not in agent.log.read_text()


@embedded
def test_an_unreadable_message_is_counted_and_hurts_no_other(agent: Agent, eventually: Eventually) -> None:
    bad: list[tuple[str, str, bytes | None]] = [
        ("enforcement", "account:x:alice@example.org", b"\xff\xfe"),
        ("enforcement", "account:x:alice@example.org", b'{"id":"1"}'),
        ("enforcement", "nonsense", None),
        ("settings", "allow:account:bob@example.org", encode(allow(ALICE))),
        ("settings", "deny", None),
    ]
    write(agent.bootstrap, *bad[:3], now_decision(ALICE), *bad[3:])
    agent.start()
    agent.ready()
    assert agent.asks(ALICE) == "REJECT"
    write(agent.bootstrap, *bad, now_decision(BOB))
    eventually(lambda: agent.asks(BOB) == "REJECT")
    eventually(lambda: agent.metric('sekimori_enforce_messages_total{outcome="unreadable",topic="settings"}') == 4)
    assert agent.metric('sekimori_enforce_messages_total{outcome="unreadable",topic="enforcement"}') == 6


NESTED = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


class _Bytes(str):
    """A header's name that is no text."""

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


def test_poison_of_every_kind_is_passed_over(agent: Agent, eventually: Eventually) -> None:
    """Nested deeply, and with headers that the client library itself cannot read."""
    key = now_decision("mallory").key.encode()
    names = [[(_Bytes("x"), b"\xff")], [("actor", b"\xff")], [("source", b"1"), ("source", b"2")]]

    def poison() -> None:
        with KafkaOutbox(agent.bootstrap) as outbox:
            for topic in ("enforcement", "settings"):
                outbox.send(topic, key, NESTED)
                outbox.send(topic, b"\xff\xfe", NESTED[:2000])
            for headers in names:
                outbox.send("enforcement", b"nonsense", None, headers)
            outbox.flush()

    poison()
    write(agent.bootstrap, now_decision(ALICE))
    agent.start()
    agent.ready()
    assert agent.asks(ALICE) == "REJECT"
    poison()
    write(agent.bootstrap, now_decision(BOB))
    eventually(lambda: agent.asks(BOB) == "REJECT")
    assert agent.metric('sekimori_enforce_messages_total{outcome="unreadable",topic="enforcement"}') == 10
    assert agent.metric('sekimori_enforce_messages_total{outcome="unreadable",topic="settings"}') == 4
    assert "Traceback" not in agent.log.read_text()
    topics = DecisionTopics(agent.bootstrap, lambda *_: None)
    assert {d.subject for d in topics.decisions()} == {ALICE, BOB}
    assert any(lifted["key"] == "nonsense" for lifted in topics.lifted())


@embedded
def test_decisions_end_by_themselves(agent: Agent, eventually: Eventually) -> None:
    agent.start()
    agent.ready()
    write(agent.bootstrap, now_decision(ALICE, seconds=2.5), now_decision(BOB))
    eventually(lambda: agent.asks(ALICE) == "REJECT")
    eventually(lambda: agent.asks(ALICE) == "DUNNO")
    eventually(lambda: agent.metric("sekimori_enforce_expired_total") == 1)
    assert agent.asks(BOB) == "REJECT"


@embedded
def test_known_blocks_hold_while_kafka_is_away_and_news_come_when_it_is_back(
    agent: Agent, fresh_broker: EmbeddedBroker, eventually: Eventually
) -> None:
    write(agent.bootstrap, now_decision(ALICE))
    agent.start()
    agent.ready()
    fresh_broker.kill()
    eventually(lambda: agent.metric("sekimori_enforce_table_age_seconds") > 3)
    assert (agent.asks(ALICE), agent.asks(BOB), agent.login(BOB)) == ("REJECT", "DUNNO", 0)
    fresh_broker.restart()  # this broker forgets: the topic is empty now
    create_topics(fresh_broker.bootstrap, partitions=4)
    eventually(lambda: agent.metric('sekimori_enforce_reads_total{outcome="empty"}') == 1, 40)
    assert (agent.asks(ALICE), agent.asks(BOB)) == ("REJECT", "DUNNO")
    eventually(lambda: agent.metric("sekimori_enforce_table_age_seconds") < 3)
    write(fresh_broker.bootstrap, now_decision(BOB))
    eventually(lambda: agent.asks(BOB) == "REJECT")


def test_without_kafka_the_snapshot_serves_and_what_was_lifted_meanwhile_goes_later(
    agent: Agent, fresh_broker: EmbeddedBroker, eventually: Eventually
) -> None:
    first = now_decision(ALICE)
    write(agent.bootstrap, first, now_decision(BOB))
    agent.start()
    agent.ready()
    agent.stop()
    if fresh_broker.kind == "apache":
        write(fresh_broker.bootstrap, ("enforcement", first.key, None))
    fresh_broker.kill()
    agent.start()
    assert [agent.asks(a) for a in (ALICE, BOB, "carol@example.org")] == ["REJECT", "REJECT", "DUNNO"]
    assert agent.health() | {"decisions": 2, "ready": False, "table_age_seconds": None} == agent.health()
    if fresh_broker.kind == "embedded":  # as if Kafka's own compaction had removed the decision and its tombstone
        agent.freeze()  # what is read while it is empty would be kept, since an empty topic tells nothing
        fresh_broker.restart()
        create_topics(fresh_broker.bootstrap, partitions=4)
        write(fresh_broker.bootstrap, now_decision(BOB))
        agent.freeze(signal.SIGCONT)
    else:
        fresh_broker.restart()
    eventually(lambda: agent.asks(ALICE) == "DUNNO", 40)
    assert agent.asks(BOB) == "REJECT"


@embedded
@pytest.mark.parametrize("previous", [True, False])
def test_a_torn_snapshot_is_not_used(
    agent: Agent, fresh_broker: EmbeddedBroker, eventually: Eventually, previous: bool
) -> None:
    write(agent.bootstrap, now_decision(ALICE))
    for _ in range(2):
        agent.start()
        agent.ready()
        agent.stop()
    path = agent.folder / "state" / SNAPSHOT
    before = path.with_name(f"{SNAPSHOT}.1")
    if previous:
        path.rename(before)
    path.write_bytes((before if previous else path).read_bytes()[:300])
    if not previous:
        before.unlink(missing_ok=True)
    fresh_broker.kill()
    agent.start()
    assert agent.asks(ALICE) == ("REJECT" if previous else "DUNNO")
    assert agent.metric('sekimori_enforce_snapshots_total{outcome="damaged"}') == 1
    assert "cut or damaged" in agent.log.read_text()


@embedded
def test_an_agent_that_was_killed_has_its_snapshot(agent: Agent, fresh_broker: EmbeddedBroker) -> None:
    write(agent.bootstrap, now_decision(ALICE))
    agent.start()
    agent.ready()
    agent.eventually((agent.folder / "state" / SNAPSHOT).exists, 20, "the snapshot is written")
    agent.stop(signal.SIGKILL)
    fresh_broker.kill()
    agent.start()  # over the stale UNIX socket, too
    assert agent.asks(ALICE) == "REJECT"


def test_an_older_decision_never_replaces_a_newer_one(agent: Agent, eventually: Eventually) -> None:
    now = datetime.now(UTC)
    newer, older = now_decision(ALICE), now_decision(ALICE, issued_at=now - timedelta(minutes=5), mode="shadow")
    agent.start()
    agent.ready()
    write(agent.bootstrap, newer, older, older, now_decision(BOB))
    eventually(lambda: agent.asks(BOB) == "REJECT")
    assert agent.asks(ALICE) == "REJECT"


@embedded
def test_out_of_file_descriptors_and_hung_up_it_answers_and_comes_back(
    agent: Agent, fresh_broker: EmbeddedBroker, eventually: Eventually
) -> None:
    write(agent.bootstrap, now_decision(ALICE))
    agent.start(open_files=256)
    agent.ready()
    assert agent.child is not None
    fresh_broker.kill()
    open_ones = []
    for n in range(300):  # 128 may be open: what is beyond that is closed, and nothing else is shut out
        connection = socket.create_connection(("127.0.0.1", agent.policy), 5)
        connection.sendall(request(sasl_username=f"{n}@x.example") + b"\n\n")
        open_ones.append(connection)
    os.kill(agent.child.pid, signal.SIGHUP)
    eventually(lambda: "topics_unavailable" in agent.log.read_text(), 20)
    assert open_ones[0].recv(100) == b"action=DUNNO\n\n"
    for connection in open_ones:
        connection.close()
    eventually(lambda: agent.asks(ALICE) == "REJECT", 20)
    refused = 'sekimori_enforce_refused_requests_total{hook="postfix",why="connections"}'
    assert agent.metric(refused) >= 300 - 128
    for word in ("few_open_files", "nothing_to_reload"):
        assert word in agent.log.read_text()
    fresh_broker.restart()
    create_topics(fresh_broker.bootstrap, partitions=4)
    write(fresh_broker.bootstrap, now_decision(BOB))
    eventually(lambda: agent.asks(BOB) == "REJECT", 40)


def test_the_soft_limit_of_open_files_is_raised(agent: Agent) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = 256 + len(os.listdir("/proc/self/fd"))  # this process has files open, too, and starts the agent
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, before[1]))
    try:
        agent.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert agent.child is not None
    limits = Path(f"/proc/{agent.child.pid}/limits").read_text()
    soft = next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open files"))
    assert low < int(soft) == min(before[1], 16_384)


@pytest.mark.parametrize("fresh_broker", ["apache"], indirect=True)
def test_a_topic_that_is_deleted_ends_no_agent(agent: Agent, eventually: Eventually) -> None:
    write(agent.bootstrap, now_decision(ALICE))
    agent.start()
    agent.ready()
    with admin(agent.bootstrap) as client:
        client.delete_topics(["enforcement"])
    eventually(lambda: "topics_unavailable" in agent.log.read_text(), 40)
    assert agent.asks(ALICE) == "REJECT"
    create_topics(agent.bootstrap, partitions=4)
    write(agent.bootstrap, now_decision(BOB))
    eventually(lambda: agent.asks(BOB) == "REJECT", 60)
    assert "Traceback" not in agent.log.read_text()


@embedded
def test_a_state_folder_that_cannot_be_written_is_told_at_the_start(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEKIMORI_STATE_DIR", str(tmp_path / "file" / "state"))
    agent.start()
    assert "state_dir_not_writable" in agent.log.read_text()
    agent.ready()
    assert agent.asks(ALICE) == "DUNNO"


def test_without_kafka_and_a_snapshot_it_is_not_well(
    agent: Agent, fresh_broker: EmbeddedBroker, eventually: Eventually
) -> None:
    fresh_broker.kill()
    agent.start()
    assert agent.health() | {"ok": False, "ready": False, "decisions": 0} == agent.health()
    fresh_broker.restart()
    create_topics(fresh_broker.bootstrap, partitions=4)
    eventually(lambda: agent.health()["ok"], 40)
