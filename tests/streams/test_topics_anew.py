"""Topics that are deleted and prepared again, that lose their end, or get more partitions: all of them is read."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.kafka.client import KafkaLog, admin, partition_counts
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.streams.partitions.sealed import Seal
from pipeline.ports import BrokerUnavailable, TopicMissing
from schemas.codec import decode_events
from schemas.enforcement import Decision
from tests.streams.test_cluster import COPIES, Events, Feeder, expected, settle
from tests.support.cluster import Job, count_records, running, wait_for
from tests.support.servers import sekimori

APACHE = pytest.mark.parametrize("fresh_broker", ["apache"], indirect=True)
__all__ = ["expected"]


def _anew(broker: EmbeddedBroker, topic: str) -> None:
    """Deletes a topic and prepares again, as an operator would."""
    with admin(broker.bootstrap) as client:
        client.delete_topics([topic])

    def gone() -> bool:
        try:
            return not partition_counts(broker.bootstrap, [topic])
        except TopicMissing:
            return True

    wait_for(gone, "the topic is gone", 30)
    _prepare(broker)


def _prepare(broker: EmbeddedBroker, *options: str) -> str:
    words = sekimori("prepare", "--broker", broker.bootstrap, *options)
    run = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run
    return run.stdout


def saved_to(broker: EmbeddedBroker, topic: str, read: str, partition: int) -> int:
    """The position of the furthest sealed state; -1 if there is none."""
    last: dict[bytes, bytes | None] = {}
    try:
        for record in KafkaLog(broker.bootstrap).read(topic, partition, 0):
            if (record.key or b"").startswith(f"{read}-{partition}.".encode()) and b"/" not in (record.key or b""):
                last[record.key or b""] = record.value
    except BrokerUnavailable:
        return -1
    seals = [msgspec.msgpack.decode(value, type=Seal) for value in last.values() if value is not None]
    return max(((seal.life, seal.position) for seal in seals), default=(0, -1))[1]


def _counted(broker: EmbeddedBroker) -> bool:
    """Has detect saved all that is on tallies?"""
    log = KafkaLog(broker.bootstrap)
    return all(saved_to(broker, "detect-state", "tallies", n) == log.end("tallies", n) - 1 for n in range(COPIES))


@APACHE
@pytest.mark.parametrize("topic", ["maillog", "tallies"])
@pytest.mark.parametrize("running_on", [True, False], ids=["running", "stopped"])
def test_a_topic_made_anew_is_read_from_its_start(
    fresh_broker: EmbeddedBroker, tmp_path: Path, expected: dict[str, Decision], topic: str, running_on: bool
) -> None:
    feeder, events = Feeder(fresh_broker.bootstrap), Events(fresh_broker.bootstrap)
    feeder.feed(slice(0, 16))
    jobs = [Job(name, fresh_broker.bootstrap, tmp_path) for name in ("normalize", "detect")]
    with running(*jobs):
        wait_for(lambda: events.count() == feeder.events_of(16), "the first events", 90, *jobs)
        wait_for(lambda: _counted(fresh_broker), "all counted and saved", 60, *jobs)
        if not running_on:
            assert [job.stop() for job in jobs] == [0, 0]
        _anew(fresh_broker, topic)
        if not running_on:
            jobs = [Job(name, fresh_broker.bootstrap, tmp_path) for name in ("normalize", "detect")]
        with running(*jobs):
            feeder.feed(slice(16, None))
            wait_for(lambda: events.count() == feeder.events, "all events", 90, *jobs)
            settle(fresh_broker, expected, *jobs)
            assert [job.stop() for job in jobs] == [0, 0]
    told = [job.log.read_text() for job in jobs][topic == "tallies"]
    assert "topic_made_anew" in told
    lives = {source for source, _ in events.frames if b"+1" in source}
    assert lives == ({b"maillog-%d+1" % n for n in range(COPIES)} if topic == "maillog" else set())
    events.close()


@APACHE
def test_new_partitions_are_read_without_a_restart_by_hand(fresh_broker: EmbeddedBroker, tmp_path: Path) -> None:
    jobs = [Job(name, fresh_broker.bootstrap, tmp_path) for name in ("normalize", "detect")]
    line = b"Nov 24 01:50:43 mx postfix/qmgr[1]: A0DED23C18C: from=<a@x.example>, size=9, nrcpt=2 (queue active)"

    def send(partition: int) -> None:
        with KafkaOutbox(fresh_broker.bootstrap) as out:
            out.send("maillog", b"mx", line, partition=partition, timestamp_ms=1_795_485_300_000)
            out.flush()

    def events() -> int:
        return sum(len(decode_events(value)) for value in count_records(fresh_broker.bootstrap, "events"))

    with running(*jobs):
        send(0)
        wait_for(lambda: events() == 1, "the first event", 60, *jobs)
        told = _prepare(fresh_broker, "--partitions", "6")
        assert partition_counts(fresh_broker.bootstrap, ["maillog", "authlog", "tallies", "normalize-state"]) == {
            "maillog": 6,
            "authlog": 6,
            "tallies": 4,
            "normalize-state": 6,
        }
        assert "maillog: 4 partitions before, now 6" in told
        send(5)
        wait_for(lambda: events() == 2, "the event of the new partition", 60, *jobs)
        assert [job.stop() for job in jobs] == [0, 0]
