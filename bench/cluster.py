"""The streaming jobs through the embedded broker: lines a second of one worker of each."""

import re
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.kafka.client import TopicReader
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.topics import create_topics
from tests.support.cluster import Job, running, wait_for

FRAME = 200  # lines


def run(path: Path, lines: int = 400_000) -> dict[str, float]:
    """Fills ``maillog``, then lets one normalize worker and then one detect worker catch up, alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with EmbeddedBroker(folder) as broker:
            create_topics(broker.bootstrap, partitions=1)
            frames = _fill(broker.bootstrap, path, lines)
            job = partial(Job, partitions="1", checkpoint_seconds="5")
            normalize = _drain(job("normalize", broker.bootstrap, folder), broker.bootstrap, "events", frames)
            tallies = _size(broker.bootstrap, "tallies")
            last = job("detect", broker.bootstrap, folder, "--metrics", "127.0.0.1:19377")
            detect = _drain_detect(last, tallies)
    return {"normalize lines/s": lines / normalize, "detect lines/s": lines / detect}


def _fill(bootstrap: str, path: Path, lines: int) -> int:
    frames = 0
    with path.open("rb") as file, KafkaOutbox(bootstrap) as out:
        now = int(path.stat().st_mtime * 1000)
        for _ in range(lines // FRAME):
            frame = b"".join(file.readline() for _ in range(FRAME)).rstrip(b"\n")
            out.send("maillog", b"mx1", frame, partition=0, timestamp_ms=now)
            frames += 1
        out.flush()
    return frames


def _size(bootstrap: str, topic: str) -> int:
    with TopicReader(bootstrap, [topic]) as reader:
        return sum(reader.ends().values())


def _drain(job: Job, bootstrap: str, topic: str, frames: int) -> float:
    """Seconds from the first message that comes out to the last."""
    seen, first = 0, 0.0
    with running(job), TopicReader(bootstrap, [topic]) as reader:
        while seen < frames:
            records = reader.poll(0.05)
            if records and not seen:
                first, seen_first = time.monotonic(), len(records)
            seen += len(records)
        took = time.monotonic() - first
        job.stop()
    return took * frames / max(1, frames - seen_first)


def _drain_detect(job: Job, tallies: int) -> float:
    """The same for detect, which tells by its metrics how far it is."""

    def done() -> int:
        try:
            with urllib.request.urlopen("http://127.0.0.1:19377/metrics", timeout=2) as answer:
                found = re.search(rb'sekimori_stream_records_total\{topic="tallies"\} ([0-9.e+]+)', answer.read())
        except OSError:
            return 0
        return int(float(found[1])) if found else 0

    with running(job):
        wait_for(lambda: done() > 0, "detect at work", 60, job)
        at_first, first = done(), time.monotonic()
        wait_for(lambda: done() >= tallies, "detect done", 300, job)
        took = time.monotonic() - first
        job.stop()
    return took * tallies / max(1, tallies - at_first)
