"""A job to which nothing comes, though messages wait, says so and begins anew; one that has nothing to do does not."""

import asyncio
import urllib.request
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.adapters.streams.topics import ReadTopics
from pipeline.settings import Settings
from schemas.topics import MAILLOG, NORMALIZE_STATE
from tests.support.cluster import Job, count_records, feed, running, wait_for
from tests.support.paths import RECORDED
from tests.support.servers import free_port
from tests.support.stuck import ALONE

STAMP_MS = 1_795_485_300_000
FIRST = TP("maillog", 0)


class Stuck(Job):
    """Its consumer takes partitions, and nothing more."""

    program = ("-m", "tests.support.stuck")


@pytest.mark.parametrize("alone", ["", "1"], ids=["no messages", "no part of the group"])
@pytest.mark.parametrize("fresh_broker", ["apache"], indirect=True)
def test_a_job_to_which_nothing_comes_begins_anew(
    fresh_broker: EmbeddedBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: str
) -> None:
    monkeypatch.setenv(ALONE, alone)
    port = free_port()
    job = Stuck("normalize", fresh_broker.bootstrap, tmp_path, f"--metrics=127.0.0.1:{port}")
    with running(job):
        feed(fresh_broker.bootstrap, STAMP_MS, maillog=(RECORDED / "mail.log", 0))
        wait_for(lambda: "job_begins_again" in job.log.read_text(), "it notices", 120, job)
        wait_for(lambda: bool(count_records(fresh_broker.bootstrap, "events")), "the first events", 60, job)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert b"sekimori_stream_begun_anew_total 1.0" in answer.read()
        assert job.stop() == 0
    assert job.log.read_text().count("job_begins_again") == 1


@pytest.mark.parametrize("fresh_broker", ["apache"], indirect=True)
def test_the_end_of_a_transaction_is_no_message_that_waits(fresh_broker: EmbeddedBroker) -> None:
    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=fresh_broker.bootstrap, transactional_id="another")
        await producer.start()
        async with producer.transaction():
            await producer.send("maillog", b"line", key=b"mx", partition=0)
        await producer.stop()

    topics = ReadTopics(
        "normalize", Settings(brokers=fresh_broker.bootstrap), [MAILLOG], NORMALIZE_STATE, PrometheusRecorder()
    )
    assert topics.waiting([FIRST], {}) == frozenset()
    asyncio.run(send())
    assert topics.waiting([FIRST], {}) == {FIRST}
    assert topics.waiting([FIRST], {FIRST: -1}) == {FIRST}
    assert topics.waiting([FIRST], {FIRST: 0}) == frozenset()
