"""With keys, on Apache Kafka: whoever writes to the topics without one blocks nobody and lifts nothing, and what he hid
is there again."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.adapters.demo.broker import EmbeddedBroker, free_port
from pipeline.adapters.kafka.client import KafkaLog
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.security.access import Cluster
from schemas.codec import decode_decision, encode
from schemas.enforcement import SIGNATURE
from tests.support.cluster import Command, Job, running, wait_for
from tests.support.decisions import decision
from tests.support.keys import Keyring
from tests.support.lines import spam
from tests.support.servers import sekimori
from tests.unit.hooks.test_postfix import request

pytestmark = pytest.mark.servers
THIEF, BOB, CAROL = "thief@x.example", "bob@x.example", "carol@x.example"
FIRST, BOTH = ("detect-1", "operator-1"), ("detect-1", "operator-1", "operator-2")


class Installation:
    """A detector, an agent, and operators with keys."""

    def __init__(self, broker: EmbeddedBroker, folder: Path) -> None:
        self.brokers, self.folder, self.ring, self.port = (
            broker.bootstrap,
            folder,
            Keyring(folder / "keys"),
            free_port(),
        )
        self.jobs: dict[str, Job] = {}

    def start(self, name: str, *arguments: str, trusted: tuple[str, ...] = FIRST) -> None:
        key = {"signing_key": str(self.ring.path("detect-1"))} if name == "detect" else {}
        given = {"trusted_keys": str(self.ring.trusting(*trusted))} | key
        self.jobs[name] = Job(name, self.brokers, self.folder, *arguments, **given)

    def agent(self, trusted: tuple[str, ...] = FIRST) -> None:
        self.start("enforce", f"--policy=127.0.0.1:{self.port}", trusted=trusted)
        wait_for(lambda: self.answer(BOB) != "nobody there", "the agent", 30, self.jobs["enforce"])

    def answer(self, account: str) -> str:
        """The first word of what Postfix is told."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as agent:
                agent.sendall(request(sasl_username=account, client_address="198.51.100.7") + b"\n\n")
                return agent.recv(4096).decode().removeprefix("action=").split()[0]
        except ConnectionRefusedError:
            return "nobody there"

    def until(self, account: str, answer: str) -> None:
        wait_for(lambda: self.answer(account) == answer, f"{account}: {answer}", 40, *self.jobs.values())

    def told(self, job: str, event: str) -> bool:
        return event in self.jobs[job].log.read_text()

    def decide(
        self, *arguments: str, key: str = "operator-1", trusted: tuple[str, ...] = FIRST
    ) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": "/usr/bin:/bin",
            "SEKIMORI_BROKERS": self.brokers,
            "SEKIMORI_SIGNING_KEY": str(self.ring.path(key)),
            "SEKIMORI_TRUSTED_KEYS": str(self.ring.trusting(*trusted)),
        }
        command = sekimori("decisions", *arguments)
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    def has(self, keys: set[str]) -> bool:
        """Has compaction a signed decision to keep, of each of these keys?"""
        last = {(r.key or b"").decode(): r for r in KafkaLog(self.brokers).read("enforcement", 0, 0)}
        return all(last[key].value is not None and SIGNATURE in dict(last[key].headers) for key in keys)


@pytest.fixture
def cluster(fresh_broker: EmbeddedBroker, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(fresh_broker, tmp_path)
    with ExitStack() as stack:
        stack.callback(lambda: [job.kill() for job in made.jobs.values() if job.process.poll() is None])
        yield made


@pytest.mark.parametrize("fresh_broker", ["apache"], indirect=True)
def test_only_who_has_a_key_decides(cluster: Installation, tmp_path: Path) -> None:
    cluster.agent()
    cluster.start("normalize")
    cluster.start("detect")
    log, state = str(spam(tmp_path, THIEF)), f"--state={tmp_path / 'shipped'}"
    ship = Command("ship", cluster.brokers, tmp_path, log, "--host=mx", state)
    with running(ship):
        assert ship.process.wait(60) == 0, ship.log.read_text()
    cluster.until(THIEF, "REJECT")
    found = [r for r in KafkaLog(cluster.brokers).read("enforcement", 0, 0) if r.value is not None]
    blocks = {decode_decision(r.value or b"").key for r in found}
    all_of_it = decision("0.0.0.0/0", "prefix", rule="manual", issued_at=datetime.now(UTC), scope="both")
    assert blocks
    assert all(SIGNATURE in dict(record.headers) for record in found)

    with KafkaOutbox(cluster.brokers) as outbox:  # who has the right to write, and no key
        outbox.send("enforcement", all_of_it.key.encode(), encode(all_of_it))
        for key in blocks:
            outbox.send("enforcement", key.encode(), None, [("actor", b"operator:hana")])
        outbox.flush()
    wait_for(lambda: cluster.has(blocks), "what was hidden is written again", 30, *cluster.jobs.values())
    wait_for(lambda: cluster.told("enforce", "message_not_obeyed"), "the agent tells", 20, *cluster.jobs.values())
    assert cluster.told("detect", "signed_messages_written_again")
    for _ in range(2):
        assert (cluster.answer(THIEF), cluster.answer(BOB)) == ("REJECT", "DUNNO")
        cluster.jobs["enforce"].kill()
        cluster.agent()
        cluster.until(THIEF, "REJECT")  # its snapshot may be older: then it knows when it has read the topic
    assert cluster.answer(BOB) == "DUNNO"
    listed = cluster.decide("list")
    assert listed.returncode == 0, listed.stderr
    assert THIEF in listed.stdout
    assert "0.0.0.0/0" not in listed.stdout
    assert "messages are not obeyed: it is not signed" in listed.stderr

    block = ("--for", "1h", "--note", "tested")
    assert cluster.decide("block", BOB, *block).returncode == 0
    cluster.until(BOB, "REJECT")
    for key, trusted in (("operator-2", FIRST), ("detect-1", FIRST)):
        refused = cluster.decide("block", CAROL, *block, key=key, trusted=trusted)
        assert refused.returncode == 2
        assert "nobody would obey it" in refused.stderr

    for name in ("enforce", "detect"):
        assert cluster.jobs[name].stop() == 0
    cluster.agent(BOTH)
    cluster.start("detect", trusted=BOTH)
    assert cluster.decide("block", CAROL, *block, key="operator-2", trusted=BOTH).returncode == 0
    assert cluster.decide("release", THIEF, "--note", "tested", key="operator-2", trusted=BOTH).returncode == 0
    cluster.until(CAROL, "REJECT")
    cluster.until(THIEF, "DUNNO")
    assert cluster.answer(BOB) == "REJECT"


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_a_cluster_with_a_list_and_no_key_writes_nothing(cluster: Installation) -> None:
    keys = cluster.ring.keys()
    refused = cluster.decide("allow", BOB, "--note", "tested", key="stranger")
    assert refused.returncode == 2
    assert "stranger" in refused.stderr
    with KafkaOutbox(Cluster(cluster.brokers, keys=keys)) as outbox:
        outbox.send("maillog", b"mx", b"a line")
        outbox.flush()
    assert list(KafkaLog(cluster.brokers).read("settings", 0, 0)) == []
