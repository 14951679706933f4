"""The whole main path as processes: ``ship --follow`` -> broker -> ``normalize`` -> ``detect`` -> ``enforce``."""

import json
import math
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from pipeline.adapters.demo.broker import EmbeddedBroker, free_port
from tests.support.clients import submit
from tests.support.cluster import Command, Job, running, wait_for
from tests.support.mailservers import API_KEY, MailServers
from tests.support.places import HOME, Addresses

PARTITIONS = 4


class Stack:
    """The processes between the servers' logs and the servers' questions. All are killed at the end."""

    def __init__(self, broker: EmbeddedBroker, servers: MailServers, folder: Path) -> None:
        self.servers, self.bootstrap, self.folder = servers, broker.bootstrap, folder
        self._exits = ExitStack()
        self.jobs: dict[str, Job] = {}
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            for start in (self.start_ship, self.start_normalize, self.start_detect, self.start_enforce):
                start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def start_ship(self) -> None:
        logs = (str(self.servers.mail_log), str(self.servers.dovecot_log))
        self._keep("ship", Command("ship", self.bootstrap, self.folder, *logs, "--follow", "--host=mx"))

    def start_normalize(self) -> None:
        self._job("normalize")

    def start_detect(self) -> None:
        self._job("detect")

    def start_enforce(self, ready: bool = True) -> None:
        """``ready``: returns when it has read all decisions from the broker."""
        ask = (f"--policy={self.servers.policy}", f"--dovecot={self.servers.auth_policy}")
        self._job("enforce", *ask, dovecot_api_key=API_KEY)
        if ready:
            self.until(lambda: self.health("enforce").get("ready") is True, "the table of decisions is read")

    def _job(self, name: str, *arguments: str, **settings: str) -> None:
        port = self.ports.setdefault(name, free_port())
        metrics = f"--metrics=127.0.0.1:{port}"
        self._keep(name, Job(name, self.bootstrap, self.folder, metrics, *arguments, **settings))

    def _keep(self, name: str, job: Job) -> None:
        self.jobs[name] = job
        self._exits.enter_context(running(job))

    def until(self, condition: Any, what: str, seconds: float = 60.0) -> None:
        """Waits, and fails at once if a process ends meanwhile that should not."""
        wait_for(condition, what, seconds, *(job for job in self.jobs.values() if job.process.returncode is None))

    def health(self, name: str) -> dict[str, Any]:
        """Of a job; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/healthz", timeout=5) as answer:
                return dict(json.load(answer))
        except (urllib.error.URLError, ConnectionError):
            return {}

    def metric(self, name: str, sample: str) -> float:
        """Of a job; NaN if it has no such sample."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/metrics", timeout=5) as answer:
            found = [line for line in answer.read().decode().splitlines() if line.startswith(f"{sample} ")]
        return float(found[0].split()[-1]) if found else math.nan

    def warm_up(self, accounts: Iterable[str], addresses: Addresses) -> None:
        """Honest mail until the detector has opened all its partitions, as it has after its first minutes anywhere."""
        for account in accounts:
            sent = submit(self.servers, addresses.new(HOME), account)
            assert sent.ok, sent

        self.until(lambda: len(self.health("detect").get("partitions", ())) == PARTITIONS, "partitions are open")
