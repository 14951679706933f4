"""A whole Sekimori on this machine, for the demo: an embedded broker and every job as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pipeline.adapters.demo.broker import EmbeddedBroker, free_port
from pipeline.adapters.kafka.topics import create_topics

START_SECONDS: Final = 60.0


class DemoError(RuntimeError):
    """A part did not start or ended by itself. The message shows its last words."""


class DemoCluster:
    """Broker, normalize, detect and the policy agent. ``policy``: ``host:port`` of the agent.

    ``settings``: of the jobs, by their names. ``clock_offset``: seconds added to the agent's clock, so that decisions
    of an old log hold.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], clock_offset: float) -> None:
        self.folder = folder
        self.broker = EmbeddedBroker(folder)
        self.policy = ("127.0.0.1", free_port())
        self._settings = dict(settings)
        self._clock_offset = clock_offset
        self._jobs: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, tell: Callable[[str], None]) -> None:
        """Starts every part and waits until it answers. Raises DemoError."""
        tell("broker")
        self.broker.start()
        create_topics(self.broker.bootstrap, partitions=2)
        tell("jobs: normalize, detect, enforce")
        (self.folder / "state").mkdir(mode=0o700)
        host, port = self.policy
        self.run("normalize", "run", "normalize")
        self.run("detect", "run", "detect", "--no-brake")  # the demo says what it would hold
        offset = f"--clock-offset={self._clock_offset}"
        self.run("enforce", "run", "enforce", "--policy", f"{host}:{port}", offset)
        self.wait(self._agent_answers, "the policy agent")

    def run(self, name: str, *arguments: str) -> None:
        """Starts a command of ours as a process; what it writes goes to ``name``.log in the folder."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("SEKIMORI_")}
        env |= {f"SEKIMORI_{name.upper()}": value for name, value in self._settings.items()}
        env |= {
            "SEKIMORI_STATE_DIR": str(self.folder / "state"),
            "SEKIMORI_BROKERS": self.broker.bootstrap,
            "SEKIMORI_PARTITIONS": "2",
            "SEKIMORI_CHECKPOINT_SECONDS": "2",
            "SEKIMORI_SESSION_TIMEOUT": "6",
        }
        with self._log(name).open("wb") as log:
            self._jobs[name] = subprocess.Popen(  # noqa: S603  # our own command
                [sys.executable, "-m", "pipeline.cli", *arguments],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def check(self) -> None:
        """Raises DemoError if a job has died."""
        for name, process in self._jobs.items():
            if process.poll() not in (None, 0):
                raise DemoError(f"{name} ended: {self._log(name).read_text(errors='replace')[-2000:]}")

    def ended(self, name: str) -> bool:
        """Has a job done its work?"""
        self.check()
        return self._jobs[name].poll() == 0

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Until it holds. Raises DemoError after a minute."""
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{what} did not answer within {START_SECONDS:.0f} s; see {self.folder}")
            time.sleep(0.05)

    def _agent_answers(self) -> bool:
        with suppress(OSError), socket.create_connection(self.policy, timeout=1):
            return True
        return False

    def ask(self, account: str, address: str) -> str:
        """What Postfix would be told about a mail of the account (policy delegation protocol, as Postfix sends it)."""
        request = (
            "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n"
            f"client_address={address}\nsasl_method=PLAIN\nsasl_username={account}\n"
            f"sender={account}\nrecipient=somebody@example.net\n\n"
        )
        with socket.create_connection(self.policy, timeout=5) as agent:
            agent.sendall(request.encode())
            return agent.makefile("r", encoding="utf-8").readline().strip().removeprefix("action=")

    def stop(self) -> None:
        """Ends every process, the broker last."""
        for process in self._jobs.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        for process in self._jobs.values():
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.broker.stop()


@contextmanager
def demo_cluster(cluster: DemoCluster, tell: Callable[[str], None]) -> Iterator[DemoCluster]:
    """A running cluster that is gone afterwards, whatever happens."""
    try:
        cluster.start(tell)
        yield cluster
    finally:
        cluster.stop()
