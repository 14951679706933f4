"""``sekimori decisions list`` asks the agent of its host, and says so; real brokers, a real agent."""

import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.adapters.agent.asking import AgentSilent, ask
from pipeline.adapters.demo.broker import Child, EmbeddedBroker, free_port
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.cli.decisions import decisions
from pipeline.enforce.asked import Asked
from schemas.codec import encode
from schemas.setting import Setting
from tests.support.decisions import allow, decision

Eventually = Callable[..., None]
pytestmark = pytest.mark.servers

NOW = datetime.now(UTC)
ALICE = "alice@example.org"
GIVEN = (
    *(decision(f"user{n}@example.org", issued_at=NOW - timedelta(seconds=n)) for n in range(300)),
    decision(ALICE, rule="manual", issued_at=NOW, actor="operator:花", reason="合言葉が盗まれた\x1b[2J"),
    decision(ALICE, rule="guessing", issued_at=NOW - timedelta(seconds=1), mode="shadow", action="notify"),
    decision(f"{ALICE}|198.51.100.7", "account_ip", rule="guessing", issued_at=NOW - timedelta(seconds=2)),
    decision("2001:DB8:0:1::/64", "ip", rule="ip_errors", issued_at=NOW, reason="x" * 400, mode="shadow"),
    decision("198.51.100.0/24", "prefix", rule="manual", issued_at=NOW - timedelta(seconds=4)),
    decision("held@example.org", issued_at=NOW, mode="shadow", parameters={"held_by": "brake"}),
    decision("RU", "country", rule="manual", issued_at=NOW, action="deny_login", scope="both"),
    decision("*", "system", rule="failed_flood", issued_at=NOW, action="notify"),
    decision("over@example.org", issued_at=NOW - timedelta(days=2)),
    decision("lifted@example.org", issued_at=NOW),
    allow("user7@example.org", issued_at=NOW),
    allow("198.51.0.0/16", "prefix", issued_at=NOW),
)
UNOBEYED = decision("slow@example.org", issued_at=NOW, action="delay_login")  # without a time
FILTERS = (
    (),
    ("--account", "ALICE@example.org"),
    ("--account", "user7@example.org"),
    ("--ip", "198.51.100.7"),
    ("--ip", "2001:db8:0:1::99"),
    ("--rule", "guessing"),
    ("--rule", "manual", "--mode", "enforce"),
    ("--mode", "shadow"),
    ("--account", ALICE, "--ip", "198.51.100.7"),
    ("--account", "nobody@example.org"),
    ("--rule", "no_such_rule"),
)


class Agent:
    """``sekimori run enforce``; its socket is in the state folder."""

    def __init__(self, folder: Path) -> None:
        self.log, self.socket = folder / "agent.log", folder / "state" / "agent.socket"
        self.child: Child | None = None

    def start(self) -> None:
        main = "from pipeline.cli import main; main()"
        self.child = Child(
            [sys.executable, "-c", main, "run", "enforce", f"--policy=127.0.0.1:{free_port()}"], self.log
        )

    def knows(self) -> bool:
        try:
            return not ask(self.socket, Asked(NOW.timestamp())).why_old
        except AgentSilent:
            return False

    def stop(self, signum: int = signal.SIGTERM) -> None:
        if self.child is not None:
            self.child.stop(signum)
            self.child = None


@pytest.fixture
def agent(fresh_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    monkeypatch.setenv("SEKIMORI_BROKERS", fresh_broker.bootstrap)
    monkeypatch.setenv("SEKIMORI_STATE_DIR", str(tmp_path / "state"))
    made = Agent(tmp_path)
    yield made
    made.stop(signal.SIGKILL)


def listed(*options: str, code: int = 0) -> Result:
    result = CliRunner().invoke(decisions, ["list", *options], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def write(bootstrap: str, *extra: object) -> None:
    with KafkaOutbox(bootstrap) as outbox:
        for message in (*GIVEN, *extra):
            topic = "settings" if isinstance(message, Setting) else "enforcement"
            outbox.send(topic, message.key.encode(), encode(message))  # type: ignore[attr-defined,arg-type]
        outbox.send("enforcement", b"account:account_send_rate:lifted@example.org", None)
        outbox.flush()


def started(agent: Agent, broker: EmbeddedBroker, eventually: Eventually) -> str:
    """The agent reads what was written; the list before anything happens."""
    write(broker.bootstrap)
    agent.start()
    eventually(agent.knows, 30, "the agent has read the topics")
    return listed().stdout


def test_a_running_agent_shows_what_the_topic_does_and_says_who_it_is(
    agent: Agent, fresh_broker: EmbeddedBroker, eventually: Eventually
) -> None:
    write(fresh_broker.bootstrap)
    assert "agent" not in listed("--rule", "guessing").stderr  # nobody is there to be asked
    agent.start()
    eventually(agent.knows, 30, "the agent has read the topics")
    assert stat.S_IMODE(agent.socket.stat().st_mode) == 0o600
    for options in FILTERS:
        asked, read = listed(*options), listed(*options, "--kafka")
        assert asked.stdout == read.stdout, options
        first, *rest = asked.stderr.splitlines(keepends=True)
        assert first.startswith(f"The agent at {agent.socket} was asked; it heard Kafka "), options
        assert "".join(rest) == read.stderr, options
    without = "without a GeoIP file it does not obey decisions about countries (1)"
    eventually(lambda: without in listed().stderr, 20, "told")
    assert "\x1b" not in listed().stdout
    assert "reject (allowed: not in force)" in listed("--account", "user7@example.org").stdout
    for options in (*FILTERS, ("--all",)):
        assert listed(*options, "--json").output == listed(*options, "--json", "--kafka").output
    assert len(listed("--json").stdout.splitlines()) == 308
    assert "(over)" in listed("--all").stdout
    assert "leave out --json and --all" in listed("--agent", str(agent.socket), "--all", code=2).output
    write(fresh_broker.bootstrap, UNOBEYED)
    eventually(lambda: "it cannot obey what --kafka shows besides (1)" in listed().stderr, 20, "told")
    assert UNOBEYED.subject in listed("--kafka").stdout


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_where_no_agent_answers_the_topic_is_read_and_that_is_said(
    agent: Agent, fresh_broker: EmbeddedBroker, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(fresh_broker.bootstrap)
    whole = listed("--kafka").stdout
    agent.start()
    eventually(agent.knows, 30, "the agent has read the topics")
    given = CliRunner().invoke(decisions, ["--brokers", fresh_broker.bootstrap, "list"], catch_exceptions=False)
    assert (given.stdout, "agent" in given.stderr) == (whole, False)
    monkeypatch.setenv("SEKIMORI_BROKERS", f"localhost:{fresh_broker.bootstrap.rpartition(':')[2]}")
    other = listed()
    assert f"obeys enforcement at {fresh_broker.bootstrap}, not enforcement at localhost:" in other.stderr
    assert "was asked" in listed("--agent", str(agent.socket)).stderr
    monkeypatch.setenv("SEKIMORI_BROKERS", fresh_broker.bootstrap)
    agent.stop(signal.SIGKILL)
    dead = listed()
    assert dead.stderr.startswith(f"No agent answers at {agent.socket}: Connection refused. Kafka is read.\n")
    for path in (agent.socket, tmp_path / "agent.log", tmp_path / "none"):
        assert "Kafka is read" in listed("--agent", str(path)).stderr
    assert {dead.stdout, other.stdout} == {whole}
    monkeypatch.setenv("SEKIMORI_AGENT_SOCKET", str(tmp_path / "none"))
    assert listed().stderr.startswith(f"No agent answers at {tmp_path / 'none'}: No such file")


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_while_kafka_is_away_the_agent_tells_what_it_knew(
    agent: Agent, fresh_broker: EmbeddedBroker, eventually: Eventually
) -> None:
    before = started(agent, fresh_broker, eventually)
    fresh_broker.kill()
    eventually(lambda: not agent.knows(), 30, "what it knows is old")
    away = listed()
    assert away.stdout == before
    assert "has not heard Kafka for 1" in away.stderr
    assert "This is what the agent knew; what came since is missing." in away.stderr
    agent.stop()
    assert "does not answer" in listed(code=2).stderr
    fresh_broker.restart()


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_strange_clients_of_the_socket_keep_nobody_from_his_answer(
    agent: Agent, fresh_broker: EmbeddedBroker, eventually: Eventually
) -> None:
    before = started(agent, fresh_broker, eventually)
    for sent in (b"", b"\x00\xff\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * 1_000_000):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(agent.socket))
            try:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(1) == b""
            except (BrokenPipeError, ConnectionResetError):
                assert len(sent) > 16_384
    assert listed().stdout == before
    assert "was asked" in listed().stderr
