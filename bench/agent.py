"""An agent with a million decisions, as a process of its own: how soon it answers after a start, how long a mail server
waits while it loads its snapshot, reads Kafka, or tells operators all, and how long operators wait."""

import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from bench.policy import REQUEST, decision
from pipeline.adapters.agent.agent import SNAPSHOT
from pipeline.adapters.agent.asking import AgentSilent, ask
from pipeline.adapters.agent.snapshot import write_snapshot
from pipeline.adapters.demo.broker import EmbeddedBroker, free_port
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.topics import create_topics
from pipeline.enforce.asked import Asked
from pipeline.enforce.table import DecisionTable
from schemas.codec import encode
from schemas.enforcement import Decision
from tests.support.cluster import Job, running

PAUSE = 0.002  # seconds between two requests
BLOCKED = "user0000001@example.org"


class Agent(Job):
    """``port``: of Postfix. ``seconds``: until it was open."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.state, self.port, started = folder, free_port(), time.monotonic()
        super().__init__("enforce", bootstrap, folder, f"--policy=127.0.0.1:{self.port}")
        while True:
            try:
                self.connection = socket.create_connection(("127.0.0.1", self.port))
                break
            except OSError:
                time.sleep(0.005)
        self.seconds, self._number = time.monotonic() - started, 0

    def wait(self) -> tuple[float, float]:
        """Until a mail server has an answer: milliseconds, and those in which the agent worked."""
        time.sleep(PAUSE)
        self._number += 1
        request = REQUEST.format(account=f"honest{self._number}@example.org", address="198.51.100.7", n=self._number)
        worked, asked = self.cpu(), time.perf_counter()
        self.connection.sendall(request.encode())
        assert self.connection.recv(4096).endswith(b"\n\n")
        return (time.perf_counter() - asked) * 1000, (self.cpu() - worked) * 1000

    def p99(self, until: Callable[[], bool], every: float = 0.1) -> tuple[float, float]:
        """The slowest ``wait`` in a hundred until then. The second figure has little of what else the machine does."""
        found, looked = [], 0.0
        while time.monotonic() - looked < every or not until():
            if time.monotonic() - looked >= every:
                looked = time.monotonic()
            found.append(self.wait())
        waited, worked = (sorted(some) for some in zip(*found, strict=True))
        return waited[int(len(found) * 0.99)], worked[int(len(found) * 0.99)]

    def knows(self, number: int) -> bool:
        """Has it so many decisions?"""
        return self._ask()[0] >= number

    def has_read(self) -> bool:
        """Was Kafka read to its end?"""
        return self._ask()[1]

    def cpu(self) -> float:
        """Seconds that the process has worked."""
        return time.clock_gettime((~self.process.pid << 3) | 2)  # clock_getcpuclockid(3), on Linux

    def _ask(self) -> tuple[int, bool]:
        nobody = Asked(time.time(), (("account", "nobody@example.org"),))
        try:
            answer = ask(self.state / "agent.socket", nobody)
        except AgentSilent:
            return 0, False
        return answer.known, not answer.why_old


def measure(decisions: int = 1_000_000, read: int = 200_000) -> dict[str, float]:
    """``read``: decisions that are read from Kafka. Seconds, and milliseconds of the slowest in a hundred;
    ``CPU``: those in which the process worked."""
    found: dict[str, float] = {}

    def take(what: str, both: tuple[float, float]) -> None:
        found[what], found[f"{what}, CPU"] = both

    with tempfile.TemporaryDirectory() as name, EmbeddedBroker(Path(name)) as broker:
        create_topics(broker.bootstrap, partitions=1)
        with _agent(broker.bootstrap, Path(name) / "loads", decisions) as agent:
            started = time.monotonic()
            take("p99 loading", agent.p99(lambda: agent.knows(decisions)))
            found["port"], found["loaded"] = agent.seconds, agent.seconds + time.monotonic() - started
            found["loaded, CPU"] = agent.cpu()
            agent.p99(agent.has_read)  # an empty topic: what the snapshot said stays
            until = time.monotonic() + 3
            take("p99 idle", agent.p99(lambda: time.monotonic() >= until))
            take("list of an account", _list(agent, BLOCKED))
            with subprocess.Popen([sys.executable, "-m", "bench.agent", "all", str(agent.state)]) as operator:
                take("p99 telling all", agent.p99(lambda: operator.poll() is not None))
                assert operator.returncode == 0
        with KafkaOutbox(broker.bootstrap) as outbox:
            for one in _decisions(read):
                outbox.send("enforcement", one.key.encode(), encode(one))
            outbox.flush()
        with _agent(broker.bootstrap, Path(name) / "reads", 0) as agent:
            started, worked = time.monotonic(), agent.cpu()
            take("p99 reading", agent.p99(agent.has_read))
            found["read/s"], found["read/s, CPU"] = read / (time.monotonic() - started), read / (agent.cpu() - worked)
            assert agent.knows(read)
    return found


@contextmanager
def _agent(bootstrap: str, state: Path, decisions: int) -> Iterator[Agent]:
    """With a snapshot of so many."""
    state.mkdir()
    if decisions:
        table = DecisionTable()
        for one in _decisions(decisions):
            table.apply(one.key, one)
        write_snapshot(state / SNAPSHOT, table.decisions(), [], time.time())
    agent = Agent(bootstrap, state)
    with running(agent), agent.connection:
        yield agent


def _decisions(number: int) -> Iterator[Decision]:
    now = datetime.now(UTC)
    for n in range(number):
        until = now + timedelta(hours=3, seconds=n % 86_400)
        yield msgspec.structs.replace(decision(n), issued_at=now, expires_at=until)


def _list(agent: Agent, account: str) -> tuple[float, float]:
    """Seconds, and those of work, of ``decisions list`` about one account."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    before, started = used(), time.monotonic()
    asked = ("decisions", "list", "--account", account, "--agent", str(agent.state / "agent.socket"))
    command = [sys.executable, "-m", "pipeline.cli", *asked]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert account in listed.stdout
    assert "was asked" in listed.stderr
    return time.monotonic() - started, used() - before


if __name__ == "__main__":
    if sys.argv[1:2] == ["all"]:
        assert ask(Path(sys.argv[2]) / "agent.socket", Asked(time.time())).listed
    else:
        for what, value in measure(*map(int, sys.argv[1:])).items():
            print(f"{what:26} {value:>12,.2f}")
