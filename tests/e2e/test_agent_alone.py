"""A real Postfix and the agent alone: over a UNIX socket as Postfix's own user, and when the agent hangs."""

import grp
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.adapters.agent.agent import SNAPSHOT
from pipeline.adapters.agent.snapshot import write_snapshot
from pipeline.adapters.demo.broker import Child, free_port
from tests.support import scenario
from tests.support.clients import Mail, Submitter
from tests.support.decisions import decision, table
from tests.support.mailservers import DOMAIN, MailServers

STOLEN, HONEST = f"victim01@{DOMAIN}", f"normal01@{DOMAIN}"
Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts an agent without Kafka that knows, by its snapshot, who is restricted."""
    now = datetime.now(UTC)
    known = table(decision(STOLEN, issued_at=now))
    write_snapshot(tmp_path / SNAPSHOT, known.decisions(), [], now.timestamp())
    monkeypatch.setenv("SEKIMORI_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("SEKIMORI_BROKERS", f"127.0.0.1:{free_port()}")
    children = []

    def run(*options: str) -> Child:
        command = [sys.executable, "-c", "from pipeline.cli import main; main()", "run", "enforce", *options]
        child = Child(command, tmp_path / "agent.log")
        children.append(child)
        return child

    yield run
    for child in children:
        child.stop(signal.SIGKILL)


def sent(servers: MailServers, account: str) -> tuple[bool, float]:
    """Was a message of a new session taken, and how long did it take? Seconds."""
    started = time.monotonic()
    with Submitter(servers, "198.51.100.7") as session:
        return session.login(account).ok and session.send(Mail(account)).ok, time.monotonic() - started


def refuses(servers: MailServers) -> bool:
    return not sent(servers, STOLEN)[0]


@pytest.mark.parametrize("options", [(), ("--unix-group=postfix", "--unix-mode=0660"), ("--unix-mode=0666",)])
def test_postfix_may_connect_to_the_unix_socket(
    mail_daemons: None, start: Start, tmp_path: Path, options: tuple[str, ...], eventually: Callable[..., None]
) -> None:
    with MailServers(scenario.ACCOUNTS, policy="unix:private/sekimori") as servers:
        path = servers.postfix / "spool/private/sekimori"
        start(f"--policy-unix={path}", *options)
        eventually(path.exists, 20)
        eventually(lambda: refuses(servers), 20)
        assert sent(servers, HONEST)[0]
        assert path.stat().st_gid == grp.getgrnam("postfix").gr_gid
        told = (tmp_path / "agent.log").read_text()
        assert "members of the group postfix" in told
        assert ("everybody on this host" in told) == ("0666" in str(options))
        assert "Permission denied" not in servers.mail_log.read_text()


def test_an_agent_that_hangs_costs_no_more_than_the_example_says(
    mail_servers: MailServers, start: Start, eventually: Callable[..., None]
) -> None:
    agent = start(f"--policy={mail_servers.policy}")
    eventually(lambda: refuses(mail_servers), 20)
    quick = sent(mail_servers, HONEST)
    assert quick[0]
    os.kill(agent.pid, signal.SIGSTOP)
    taken, seconds = sent(mail_servers, HONEST)
    os.kill(agent.pid, signal.SIGCONT)
    assert taken
    assert 5 < seconds - quick[1] < 11  # "about nine seconds"
    eventually(lambda: refuses(mail_servers), 20)
    agent.stop(signal.SIGKILL)
    taken, seconds = sent(mail_servers, HONEST)
    assert taken
    assert seconds - quick[1] < 5  # "about three seconds"
