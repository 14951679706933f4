"""A recorded log as the worst sender would ship it: line by line, without a key, each line to any partition."""

import random
from pathlib import Path

import pytest

from pipeline.adapters.kafka.client import TopicReader
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.topics import create_topics
from schemas.codec import decode_events, decode_tallies
from tests.support.cluster import Job, running, wait_for
from tests.support.paths import RECORDED
from tests.support.servers import BROKERS

LINES = (RECORDED / "mail.log").read_bytes().splitlines()
SUBMISSIONS = 882


def frames(bootstrap: str, topic: str) -> list[bytes]:
    """What lies there, but for what a killed worker's successor sent again: that is told by its headers."""
    found: dict[tuple[bytes, bytes, int], bytes] = {}
    with TopicReader(bootstrap, [topic]) as reader:
        while reader.behind():
            for record in reader.poll(0.2):
                headers = dict(record.headers)
                found[headers["source"], headers["offset"], record.partition] = record.value or b""
    return list(found.values())


def submissions(bootstrap: str) -> int:
    events = (event for frame in frames(bootstrap, "events") for event in decode_events(frame))
    return sum(event.kind == "submission" for event in events)


def counted(bootstrap: str) -> int:
    """Messages of accounts, as `detect` gets them."""
    tallies = (tally for frame in frames(bootstrap, "tallies") for tally in decode_tallies(frame))
    return sum(tally.messages for tally in tallies if tally.kind == "account")


@pytest.mark.servers
@pytest.mark.parametrize("partitions", [2, 4])
def test_every_submission_of_a_recorded_log_is_found_and_counted(partitions: int, tmp_path: Path) -> None:
    """Also where a worker is killed meanwhile."""
    chance = random.Random(partitions)
    with BROKERS["apache"](tmp_path) as broker:
        create_topics(broker.bootstrap, partitions=partitions)
        killed, other = (Job("normalize", broker.bootstrap, tmp_path, partitions=str(partitions)) for _ in range(2))
        with running(killed, other):
            with KafkaOutbox(broker.bootstrap) as out:
                for n, line in enumerate(LINES):
                    out.send("maillog", None, line, partition=chance.randrange(partitions))
                    if n == len(LINES) // 2:
                        out.flush()
                        wait_for(lambda: killed.is_at_work() and submissions(broker.bootstrap) > 0, "work", 60, other)
                        killed.kill()
                out.flush()
            wait_for(lambda: submissions(broker.bootstrap) >= SUBMISSIONS, "all submissions", 120, other)
            assert other.stop() == 0
        assert submissions(broker.bootstrap) == SUBMISSIONS
        assert counted(broker.bootstrap) == SUBMISSIONS
