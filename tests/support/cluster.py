"""The streaming jobs as real processes on a real broker, fed with recorded logs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.adapters.kafka.client import KafkaLog, TopicReader
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.partition import REFERENCE
from schemas.codec import decode_decision
from schemas.enforcement import Decision
from tests.support.clocks import Clock
from tests.support.paths import RECORDED, ROOT

FRAME = 200  # lines
BUSY = 3.0  # how much longer than it should a thing may take: two tests run at a time, on whatever machine


class Job:
    """A job's process; its log is kept beside the broker's."""

    program: tuple[str, ...] = ("-m", "pipeline.cli")
    command: tuple[str, ...] = ("run",)

    def __init__(
        self, name: str, bootstrap: str, folder: Path, *arguments: str, clock: Clock | None = None, **settings: str
    ) -> None:
        self.log = folder / f"{name}-{time.monotonic_ns()}.log"
        env = {k: v for k, v in os.environ.items() if not k.startswith("SEKIMORI_")} | {
            "SEKIMORI_BROKERS": bootstrap,
            "SEKIMORI_GEOIP": str(RECORDED / "geo.mmdb"),
            "SEKIMORI_CHECKPOINT_SECONDS": "0.3",
            "SEKIMORI_SESSION_TIMEOUT": "6",
            "SEKIMORI_STATE_DIR": str(folder),
            **{f"SEKIMORI_{key.upper()}": value for key, value in settings.items()},
            **(clock.environment if clock is not None else {}),
        }
        with self.log.open("wb") as log:
            command = [sys.executable, *self.program, *self.command, name, *arguments]
            self.process = subprocess.Popen(
                command, env=env, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def is_at_work(self) -> bool:
        """Has it been given a partition?"""
        return "partition_opened" in self.log.read_text()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stops it as a machine that hangs does: it will not know."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on as if nothing had been."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end on SIGTERM:\n{self.log.read_text()}") from None


class Command(Job):
    """As a job, for the commands that are not under ``sekimori run``."""

    command = ()


@contextmanager
def running(*jobs: Job) -> Iterator[None]:
    """Stops them at the end, whatever happens."""
    try:
        yield
    finally:
        for job in jobs:
            if job.process.poll() is None:
                job.kill()


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60.0, *jobs: Job) -> None:
    """Polls a condition of the outside world until it holds, ``seconds`` at most on a machine that is not busy."""
    deadline = time.monotonic() + seconds * BUSY
    while not condition():
        for job in jobs:
            assert job.process.poll() is None, f"{what}: a job ended:\n{job.log.read_text()}"
        if time.monotonic() > deadline:
            logs = "\n".join(f"{job.log}:\n{job.log.read_text()[-3000:]}" for job in jobs)
            raise AssertionError(f"waited {seconds * BUSY:.0f} s for: {what}\n{logs}")
        time.sleep(0.05)


def feed(bootstrap: str, reference_ms: int, **logs: tuple[Path, int]) -> int:
    """Sends each topic's log file to a partition, in frames; returns the number of lines."""
    lines_sent = 0
    older = [(REFERENCE, b"%d" % reference_ms)]
    with KafkaOutbox(bootstrap) as out:
        for topic, (path, partition) in logs.items():
            lines = path.read_bytes().splitlines()
            lines_sent += len(lines)
            for at in range(0, len(lines), FRAME):
                frame = b"\n".join(lines[at : at + FRAME])
                out.send(topic, b"mx", frame, older, partition=partition)
        out.flush()
    return lines_sent


def decisions(bootstrap: str) -> dict[str, Decision]:
    """Today's state of ``enforcement``: key -> decision."""
    return {k.decode(): decode_decision(v) for k, v in KafkaLog(bootstrap).state("enforcement").items()}


def count_records(bootstrap: str, topic: str) -> list[bytes]:
    """Every value in a topic."""
    with TopicReader(bootstrap, [topic]) as reader:
        values: list[bytes] = []
        while reader.behind():
            values += [r.value for r in reader.poll(0.2) if r.value is not None]
        return values
