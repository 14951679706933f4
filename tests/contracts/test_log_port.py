"""One suite for every implementation of the log ports: in memory, the embedded broker, Apache Kafka."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from pipeline.adapters.kafka.client import KafkaLog, TopicReader, admin
from pipeline.adapters.kafka.memory import MemoryLog, MemoryReader
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.ports import (
    BrokerUnavailable,
    CompactedLog,
    FollowedLog,
    MessageRefused,
    Outbox,
    PartitionLog,
    Record,
    TopicMissing,
)
from tests.support.servers import BROKERS, EmbeddedBroker, free_port


@dataclass
class Log:
    """What the suite needs of an implementation: ``topic`` (4 partitions) and ``table`` (1) are this test's own."""

    outbox: Callable[[], Outbox]
    reader: PartitionLog
    table_reader: CompactedLog
    follow: Callable[..., FollowedLog]
    topic: str
    table: str


@pytest.fixture(params=["memory", *(pytest.param(kind, marks=pytest.mark.servers) for kind in BROKERS)])
def log(request: pytest.FixtureRequest, _brokers: Callable[[str], EmbeddedBroker]) -> Iterator[Log]:
    topic, table = f"lines-{uuid.uuid4()}", f"table-{uuid.uuid4()}"
    if request.param == "memory":
        memory = MemoryLog({topic: 4, table: 1})
        yield Log(lambda: memory, memory, memory, lambda *topics: MemoryReader(memory, topics), topic, table)
        return
    bootstrap = _brokers(request.param).bootstrap
    with admin(bootstrap) as client:
        client.create_topics(
            {
                topic: {"num_partitions": 4, "replication_factor": 1},
                table: {"num_partitions": 1, "replication_factor": 1, "configs": {"cleanup.policy": "compact"}},
            },
            wait_for_metadata=True,
        )
    reader = KafkaLog(bootstrap)
    with ExitStack() as stack:
        yield Log(
            lambda: stack.enter_context(closing(KafkaOutbox(bootstrap))),
            reader,
            reader,
            lambda *topics: TopicReader(bootstrap, topics),
            topic,
            table,
        )


def test_what_was_flushed_can_be_read_back(log: Log) -> None:
    outbox = log.outbox()
    outbox.send(log.topic, b"mx1", b"a\nb", [("file", b"x"), ("end", b"4")], timestamp_ms=1_795_485_043_000)
    outbox.send(log.topic, b"mx1", b"", timestamp_ms=1_795_485_043_001)
    partition = log.reader.partition_of(log.topic, b"mx1")
    assert outbox.flush() == {(log.topic, partition): 2}
    first, second = log.reader.read(log.topic, partition, 0)
    assert (first.topic, first.partition, first.offset) == (log.topic, partition, 0)
    assert (first.key, first.value, first.timestamp_ms) == (b"mx1", b"a\nb", 1_795_485_043_000)
    assert first.headers == (("file", b"x"), ("end", b"4"))
    assert (second.offset, second.value, second.headers) == (1, b"", ())
    assert log.reader.end(log.topic, partition) == 2
    assert outbox.flush() == {}


def test_equal_keys_keep_their_order(log: Log) -> None:
    outbox = log.outbox()
    for n in range(500):
        outbox.send(log.topic, f"host{n % 7}".encode(), b"%d" % n)
    outbox.flush()
    seen: dict[bytes, list[int]] = {}
    for partition in range(4):
        for record in log.reader.read(log.topic, partition, 0):
            assert log.reader.partition_of(log.topic, record.key or b"") == partition
            seen.setdefault(record.key or b"", []).append(int(record.value or b""))
    assert seen == {f"host{k}".encode(): list(range(k, 500, 7)) for k in range(7)}


def test_a_partition_may_be_chosen(log: Log) -> None:
    outbox = log.outbox()
    for partition in range(4):
        outbox.send(log.topic, None, b"%d" % partition, partition=partition)
    assert outbox.flush() == {(log.topic, n): 1 for n in range(4)}
    for partition in range(4):
        assert [r.value for r in log.reader.read(log.topic, partition, 0)] == [b"%d" % partition]


def test_reading_begins_where_it_is_told(log: Log) -> None:
    outbox = log.outbox()
    for n in range(10):
        outbox.send(log.topic, None, b"%d" % n, partition=0)
    outbox.flush()
    assert [r.offset for r in log.reader.read(log.topic, 0, 7)] == [7, 8, 9]
    assert list(log.reader.read(log.topic, 0, 10)) == []
    # The topic was made anew since: what lies there now is all unknown.
    assert [r.offset for r in log.reader.read(log.topic, 0, 11)] == list(range(10))


def test_a_table_is_the_last_value_of_each_key(log: Log) -> None:
    outbox = log.outbox()
    assert log.table_reader.state(log.table) == {}
    for key, value in (
        (b"a", b"1"),
        (b"b", b"2"),
        (b"a", b"3"),
        (b"b", None),
        (b"c", b"4"),
        (b"c", None),
        (b"c", b"5"),
    ):
        outbox.send(log.table, key, value)
    outbox.flush()
    assert log.table_reader.state(log.table) == {b"a": b"3", b"c": b"5"}


def read_all(reader: FollowedLog) -> list[Record]:
    """What there is from here to the end."""
    found: list[Record] = []
    ends = reader.ends()
    while any(at < ends[place] for place, at in reader.positions().items()):
        found += reader.poll(0.5)
    return found


def test_topics_are_read_from_the_start_and_followed(log: Log) -> None:
    outbox = log.outbox()
    for n in range(40):
        outbox.send(log.topic, None, b"%d" % n, partition=n % 4)
    outbox.send(log.table, b"a", None)
    outbox.flush()
    with log.follow(log.topic, log.table) as reader:
        places = {(log.topic, n): 10 for n in range(4)} | {(log.table, 0): 1}
        assert (reader.positions(), reader.ends()) == (dict.fromkeys(places, 0), places)
        found = read_all(reader)
        assert sorted(int(r.value or b"") for r in found if r.topic == log.topic) == list(range(40))
        for n in range(4):
            assert [r.offset for r in found if r.topic == log.topic and r.partition == n] == list(range(10))
        assert [(r.key, r.value) for r in found if r.topic == log.table] == [(b"a", None)]
        assert (reader.positions(), reader.poll(0.01)) == (places, [])
        outbox.send(log.table, b"b", b"1")
        outbox.flush()
        assert [r.key for r in read_all(reader)] == [b"b"]


def test_a_heartbeat_tells_what_is_not_read_yet_and_ends_that_never_go_back(log: Log) -> None:
    outbox = log.outbox()
    with log.follow(log.table) as reader:
        before, behind = reader.heartbeat()
        assert (set(before), behind) == ({(log.table, 0)}, 0)
        for n in range(3):
            outbox.send(log.table, b"%d" % n, b"x" * 100)
            outbox.flush()
            ends, _ = reader.heartbeat()
            assert all(ends[place] >= before[place] for place in ends)
            before = ends
        assert reader.heartbeat()[1] > 0
        read_all(reader)
        assert reader.heartbeat()[1] == 0


def test_a_topic_that_is_not_there_is_an_error_and_is_not_made(log: Log) -> None:
    missing = f"missing-{uuid.uuid4()}"
    for _ in range(2):
        outbox = log.outbox()
        with pytest.raises(TopicMissing, match=missing):
            outbox.send(missing, b"k", b"v")
    with pytest.raises(TopicMissing, match=missing):
        log.reader.partition_of(missing, b"k")
    with pytest.raises(TopicMissing, match=missing):
        log.reader.end(missing, 0)
    with pytest.raises(TopicMissing, match=missing):
        list(log.reader.read(missing, 0, 0))
    with pytest.raises(TopicMissing, match=missing):
        log.table_reader.state(missing)
    with pytest.raises(TopicMissing, match=missing):
        log.follow(missing)


def test_a_partition_that_is_not_there_is_an_error(log: Log) -> None:
    with pytest.raises(TopicMissing, match="no partition 4"):
        log.outbox().send(log.topic, b"k", b"v", partition=4)
    with pytest.raises(TopicMissing, match="no partition 4"):
        log.reader.end(log.topic, 4)


def test_a_message_too_large_is_refused_at_once(log: Log) -> None:
    outbox = log.outbox()
    with pytest.raises(MessageRefused):
        outbox.send(log.topic, b"k", b"x" * 1_048_577)
    with pytest.raises(MessageRefused):
        outbox.send(log.topic, None, None)
    outbox.send(log.topic, b"k", b"x" * 900_000)
    assert sum(outbox.flush().values()) == 1


def test_a_broker_that_does_not_answer_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(BrokerUnavailable, match=f"{address} does not answer.*--broker"), admin(address, 200):
        pass


def test_an_address_that_is_none_is_refused() -> None:
    for wrong in ("", "localhost", "localhost:", "localhost:0", "localhost:99999", ":9092", "a:1,b"):
        with pytest.raises(ValueError, match="host:port"):
            KafkaLog(wrong).end("maillog", 0)
