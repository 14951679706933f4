"""What a broker must do for us, and what differs between the embedded one and Apache Kafka."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.adapters.kafka.client import KafkaLog, TopicReader, admin
from pipeline.adapters.kafka.follow import follow
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.ports import BrokerUnavailable, Record
from tests.support.servers import ROOT, EmbeddedBroker


def test_follow_commits_only_what_was_flushed(broker: EmbeddedBroker) -> None:
    topic, group = _topic(broker), f"group-{uuid.uuid4()}"
    with KafkaOutbox(broker.bootstrap) as outbox:
        for n in range(300):
            outbox.send(topic, b"%d" % (n % 5), b"%d" % n)
        outbox.flush()
    seen: list[int] = []
    flushed: list[int] = []

    def work(batch: list[Record]) -> None:
        seen.extend(int(r.value or b"") for r in batch)

    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        _follow(broker, group, topic, work, fail, lambda: False)
    assert seen
    seen.clear()
    _follow(broker, group, topic, work, lambda: flushed.extend(seen), lambda: len(seen) == 300)
    assert sorted(seen) == list(range(300))
    assert flushed[-300:] == seen
    with KafkaOutbox(broker.bootstrap) as outbox:
        outbox.send(topic, b"0", b"300")
        outbox.flush()
    seen.clear()
    _follow(broker, group, topic, work, lambda: None, lambda: bool(seen))
    assert seen == [300]


def _follow(
    broker: EmbeddedBroker,
    group: str,
    topic: str,
    work: Callable[[list[Record]], None],
    flush: Callable[[], None],
    stopping: Callable[[], bool],
) -> None:
    follow(broker.bootstrap, group, [topic], work=work, flush=flush, stopping=stopping, session_timeout=6.0)


def test_a_reader_goes_on_from_its_positions(broker: EmbeddedBroker) -> None:
    topic = _topic(broker)
    with KafkaOutbox(broker.bootstrap) as outbox:
        for n in range(20):
            outbox.send(topic, None, b"%d" % n, partition=n % 2)
        outbox.flush()
        with TopicReader(broker.bootstrap, [topic]) as reader:
            assert reader.behind() == 20
            first: list[Record] = []
            while reader.behind():
                first += reader.poll(0.5)
            assert sorted(int(r.value or b"") for r in first) == list(range(20))
            positions = reader.positions()
        outbox.send(topic, None, b"20", partition=1)
        outbox.flush()
        with TopicReader(broker.bootstrap, [topic], positions) as reader:
            assert reader.behind() == 1
            later: list[Record] = []
            while reader.behind():
                later += reader.poll(0.5)
            assert [r.value for r in later] == [b"20"]


def test_a_broker_that_dies_is_unavailable_and_comes_back(fresh_broker: EmbeddedBroker) -> None:
    with KafkaOutbox(fresh_broker.bootstrap, timeout=3.0) as outbox:
        outbox.send("maillog", b"mx", b"before")
        outbox.flush()
        fresh_broker.kill()
        outbox.send("maillog", b"mx", b"lost with the broker")
        with pytest.raises(BrokerUnavailable, match=fresh_broker.bootstrap):
            outbox.flush()
    with pytest.raises(BrokerUnavailable, match=fresh_broker.bootstrap):
        KafkaLog(fresh_broker.bootstrap).state("enforcement")
    fresh_broker.start()
    with admin(fresh_broker.bootstrap) as client:
        kept = "maillog" in client.list_topics()
    # Apache Kafka keeps what it acknowledged; the embedded broker forgets even its topics.
    assert kept == (fresh_broker.kind == "apache")


def test_only_apache_kafka_enforces_the_size_of_messages(broker: EmbeddedBroker) -> None:
    topic = _topic(broker, **{"max.message.bytes": "1000"})
    with KafkaOutbox(broker.bootstrap) as outbox:
        outbox.send(topic, b"k", b"x" * 5000)
        if broker.kind == "apache":
            with pytest.raises(ValueError, match=r"too large|TooLarge"):
                outbox.flush()
        else:
            assert sum(outbox.flush().values()) == 1


def test_only_the_embedded_broker_makes_topics_that_are_asked_for(broker: EmbeddedBroker) -> None:
    """Why ``KafkaOutbox`` asks whether a topic exists before it sends to it."""
    from kafka import KafkaProducer
    from kafka.errors import KafkaError

    name = f"asked-for-{uuid.uuid4()}"
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, allow_auto_create_topics=False, max_block_ms=1500)
    try:
        made = producer.send(name, b"x").get(5).offset == 0
    except KafkaError:
        made = False
    finally:
        producer.close(timeout=0)
    assert made == (broker.kind == "embedded")


def _topic(broker: EmbeddedBroker, **configs: str) -> str:
    name = f"topic-{uuid.uuid4()}"
    with admin(broker.bootstrap) as client:
        client.create_topics(
            {name: {"num_partitions": 2, "replication_factor": 1, "configs": configs}}, wait_for_metadata=True
        )
    return name


@pytest.mark.servers
def test_a_broker_does_not_outlive_whoever_started_it(tmp_path: Path, eventually: Callable[..., None]) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path\n"
        "from pipeline.adapters.demo.broker import EmbeddedBroker\n"
        f"broker = EmbeddedBroker(Path({str(tmp_path)!r})).start()\n"
        "print(*broker.pids, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        assert all(_runs(pid) for pid in pids)
        process.kill()
        process.wait()
        eventually(lambda: not any(map(_runs, pids)), seconds=10)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # A process that ended and that nobody has asked for yet.
        return b"\nState:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False
