"""One round: two mail servers write logs, shippers and jobs work, and by chance something breaks."""

import os
import random
import resource
import signal
import time
from collections import Counter
from pathlib import Path

from tests.faults.verdict import Verdict, judge
from tests.support.clocks import CACHED, Clock
from tests.support.cluster import Command, Job
from tests.support.copies import copies
from tests.support.servers import EmbeddedBroker, start_broker

HOSTS = 2
JOBS = ("normalize", "normalize", "detect", "detect")
SESSION = 6.0  # seconds, see ``Job``
SETTLED = 400.0  # seconds that the work may take when the last fault is over, on a machine that does other work, too
FAULTS = (
    ("kill -9 of a job", 30),
    ("freeze of a job past its session", 10),
    ("freeze of a job, and kill -9 as it comes back", 10),
    ("SIGTERM of a job", 10),
    ("rebalance: one more worker comes and goes", 6),
    ("kill -9 of a shipper", 10),
    ("shipper on a full disk", 4),
    ("log rotation", 12),
    ("kill -9 of the broker", 4),
    ("restart of the broker", 2),
    ("hang of the broker", 2),
    ("clock step of a job", 5),
    ("clock step of a mail server", 5),
)
STEPS = (86_400, 7_200, 600, -600, -7_200)  # seconds


class _Full(Command):
    """A shipper that can write no more than it is allowed to, as on a full disk."""

    def __init__(self, name: str, bootstrap: str, folder: Path, *arguments: str, clock: Clock) -> None:
        super().__init__(name, bootstrap, folder, *arguments, clock=clock)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (64, 64))


class Round:
    """``seed`` decides which faults come, and when; ``count``: how many."""

    def __init__(self, folder: Path, seed: int, count: int) -> None:
        self._chance, self._count, self._folder = random.Random(seed), count, folder
        self.faults: Counter[str] = Counter()
        self.ended = 0
        self._clocks = [Clock(folder / f"clock.{number}") for number in range(len(JOBS))]
        self._host_clocks = [Clock(folder / f"clock.mx{host}") for host in range(HOSTS)]
        self._jobs: list[tuple[str, Job]] = []
        self._shippers: list[Job] = []
        self._unwritten = [list(lines) for lines in copies(HOSTS)]
        self._each = [len(lines) // (count * 2) + 1 for lines in self._unwritten]
        self._rotated = [0] * HOSTS

    def run(self) -> Verdict:
        """Raises AssertionError if what should work does not come to its end."""
        broker = start_broker("apache", _made(self._folder / "broker"))
        try:
            for host in range(HOSTS):
                self._log(host).write_bytes(b"")
            self._jobs = [(name, self._job(broker, number)) for number, name in enumerate(JOBS)]
            self._shippers = [self._shipper(broker, host) for host in range(HOSTS)]
            while not all(any(self._state(host).rglob("*.json")) for host in range(HOSTS)):
                self._live(broker, 0.5)  # a shipper that knows of no file yet begins with the one that is there
            for _ in range(self._count):
                self._live(broker, self._chance.uniform(0.2, 2.5))
                kind = self._chance.choices(*zip(*FAULTS, strict=True))[0]
                self._fault(broker, kind)
                self.faults[kind] += 1
            while any(self._unwritten):
                self._live(broker, 0.1)
            deadline = time.monotonic() + SETTLED
            while not (verdict := judge(broker.bootstrap, HOSTS, self.written())).settled:
                self._live(broker, 2.0)
                if time.monotonic() > deadline:
                    break
            return verdict
        finally:
            for job in (*(job for _, job in self._jobs), *self._shippers):
                if job.process.poll() is None:
                    job.kill()
            broker.stop()

    def written(self) -> list[bytes]:
        """Every line that was written, once."""
        return [line for lines in copies(HOSTS) for line in lines]

    def _live(self, broker: EmbeddedBroker, seconds: float) -> None:
        """Lines are written, and whoever ended is started again, as by a supervisor."""
        until = time.monotonic() + seconds
        while True:
            for host, lines in enumerate(self._unwritten):
                share, self._unwritten[host] = lines[: self._each[host]], lines[self._each[host] :]
                with self._log(host).open("ab") as log:
                    log.writelines(line + b"\n" for line in share)
            for number, (name, job) in enumerate(self._jobs):
                if job.process.poll() is not None:
                    self.ended += 1
                    self._jobs[number] = name, self._job(broker, number)
            for host, shipper in enumerate(self._shippers):
                if shipper.process.poll() is not None:
                    self._shippers[host] = self._shipper(broker, host)
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.5))

    def _fault(self, broker: EmbeddedBroker, kind: str) -> None:
        number, host = self._chance.randrange(len(self._jobs)), self._chance.randrange(HOSTS)
        name, job = self._jobs[number]
        match kind:
            case "kill -9 of a job":
                job.kill()
            case "freeze of a job past its session" | "freeze of a job, and kill -9 as it comes back":
                job.freeze()
                self._live(broker, SESSION + self._chance.uniform(1.0, 4.0))
                job.thaw()
                if "kill" in kind:
                    time.sleep(self._chance.uniform(0.0, 0.2))
                    job.kill()
            case "SIGTERM of a job":
                job.stop()
            case "rebalance: one more worker comes and goes":
                more = Job(name, broker.bootstrap, self._folder)
                self._live(broker, self._chance.uniform(2.0, 6.0))
                more.kill() if self._chance.random() < 0.5 else more.stop()
            case "kill -9 of a shipper":
                self._shippers[host].kill()
            case "shipper on a full disk":
                self._shippers[host].kill()
                self._shippers[host] = self._shipper(broker, host, _Full)
                self._live(broker, 2.0)
                if self._shippers[host].process.poll() is None:
                    self._shippers[host].kill()
            case "log rotation":
                self._rotated[host] += 1
                self._log(host).rename(self._log(host).with_suffix(f".log.{self._rotated[host]}"))
                self._log(host).write_bytes(b"")
            case "kill -9 of the broker":
                broker.kill()
                time.sleep(self._chance.uniform(0.0, 3.0))
                broker.restart()
            case "restart of the broker":
                broker.stop()
                broker.restart()
            case "hang of the broker":
                for pid in broker.pids:
                    os.kill(pid, signal.SIGSTOP)
                time.sleep(self._chance.uniform(2.0, 12.0))
                for pid in broker.pids:
                    os.kill(pid, signal.SIGCONT)
            case "clock step of a job" | "clock step of a mail server":
                clock = self._clocks[number] if "job" in kind else self._host_clocks[host]
                clock.set(self._chance.choice(STEPS))
                self._live(broker, CACHED + self._chance.uniform(0.5, 3.0))
                clock.set(0)

    def _job(self, broker: EmbeddedBroker, number: int) -> Job:
        return Job(JOBS[number], broker.bootstrap, self._folder, clock=self._clocks[number])

    def _log(self, host: int) -> Path:
        return _made(self._folder / f"mx{host}") / "mail.log"

    def _state(self, host: int) -> Path:
        return self._folder / f"mx{host}" / "state"

    def _shipper(self, broker: EmbeddedBroker, host: int, kind: type[Command] = Command) -> Job:
        options = ("--follow", f"--host=mx{host}", f"--state={self._state(host)}", "--linger-ms=50")
        return kind(
            "ship", broker.bootstrap, self._folder, str(self._log(host)), *options, clock=self._host_clocks[host]
        )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
