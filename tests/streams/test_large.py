"""Messages that become too large to be sent on."""

import gzip
from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.kafka.client import TopicReader, admin
from pipeline.adapters.kafka.outbox import KafkaOutbox
from schemas.codec import decode_dead_letters, decode_events
from tests.support.cluster import Job, count_records, running, wait_for

LINES, SMALL = 120_000, 10
APACHE = pytest.mark.parametrize("fresh_broker", ["apache"], indirect=True)
STAMP_MS = 1_795_485_300_000


def _line(number: int) -> bytes:
    return b"Nov 24 01:50:43 mx postfix/qmgr[1]: %012X: from=<user%d@x.example>, size=%d, nrcpt=1 (queue active)" % (
        number + 1,
        number % 999,
        number,
    )


def _send(broker: EmbeddedBroker, *values: bytes) -> None:
    """As a collector does that packs what it has collected: the broker counts what was packed."""
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, compression_type="gzip", max_request_size=1 << 26)
    for value in values:
        producer.send("maillog", value, b"mx", partition=1, timestamp_ms=STAMP_MS).get(60)
    producer.close()


@APACHE
def test_a_large_record_is_worked_on_in_pieces_and_nothing_is_lost(
    fresh_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    """It is killed in between, and what was sent already comes again under the same names."""
    large = b"\n".join(_line(number) for number in range(LINES))
    assert len(gzip.compress(large)) < 1_048_576 < 10 * 1_048_576 < len(large)
    _send(fresh_broker, large, b"\n".join(_line(number) for number in range(LINES, LINES + SMALL)))
    with TopicReader(fresh_broker.bootstrap, ["events"]) as reader:
        found: dict[tuple[bytes, bytes], list[str]] = {}

        def events() -> int:
            for record in reader.poll(0.1):
                headers = dict(record.headers)
                ids = [event.queue_id or "" for event in decode_events(record.value or b"")]
                assert found.setdefault((headers["source"], headers["offset"]), ids) == ids
            return sum(map(len, found.values()))

        job = Job("normalize", fresh_broker.bootstrap, tmp_path)
        with running(job):
            wait_for(lambda: events() > 0, "the first piece", 90, job)
            job.kill()
        again = Job("normalize", fresh_broker.bootstrap, tmp_path)
        with running(again):
            wait_for(lambda: events() == LINES + SMALL, "an event for each line", 120, again)
            assert again.stop() == 0
    ids = [id_ for of in found.values() for id_ in of]
    assert len(set(ids)) == len(ids) == LINES + SMALL
    assert {source for source, offset in found if offset == b"1"} == {b"maillog-1"}
    assert (b"maillog-1#1", b"0") in found


@APACHE
def test_what_the_broker_refuses_as_too_large_is_a_dead_letter_and_work_goes_on(
    fresh_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    with admin(fresh_broker.bootstrap) as client:
        client.alter_configs([ConfigResource("TOPIC", "events", {"max.message.bytes": "100000"})])
    with KafkaOutbox(fresh_broker.bootstrap) as out:
        for count in (SMALL, 2000, SMALL):
            frame = b"\n".join(_line(number) for number in range(count))
            out.send("maillog", b"mx", frame, partition=1, timestamp_ms=STAMP_MS)
        out.flush()
    job = Job("normalize", fresh_broker.bootstrap, tmp_path)
    with running(job):
        wait_for(lambda: len(count_records(fresh_broker.bootstrap, "events")) == 2, "events", 90, job)
        wait_for(lambda: bool(count_records(fresh_broker.bootstrap, "dead-letters")), "a dead letter", 90, job)
        assert job.stop() == 0
    (letter,) = decode_dead_letters(count_records(fresh_broker.bootstrap, "dead-letters")[0])
    assert (letter.source, letter.offset) == ("maillog-1>events", 1)
    assert "was refused by the broker as too large" in letter.reason
    assert "message_refused" in job.log.read_text()
