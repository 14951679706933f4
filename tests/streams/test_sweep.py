"""Decisions that are long over leave the topic, on real brokers; what an operator lifted is told apart."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.kafka.client import KafkaLog
from pipeline.adapters.kafka.decisions import DecisionTopics
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.topics import create_topics
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.adapters.streams.sweeper import Sweeper
from pipeline.storage.archive import messages_of
from pipeline.storage.rows import Release
from schemas.codec import encode
from tests.support.decisions import decision


def test_one_of_several_sweeps_and_what_was_released_is_told_apart(
    fresh_broker: EmbeddedBroker, eventually: Callable[..., None]
) -> None:
    brokers, now = fresh_broker.bootstrap, datetime.now(UTC)
    create_topics(brokers, partitions=2)
    long_over = [
        decision(f"over{n}@x.example", issued_at=now - timedelta(days=3), seconds=86_400 * 1.5) for n in range(50)
    ]
    just_over = decision("just@x.example", issued_at=now - timedelta(hours=2), seconds=3600)
    holding, released = (decision(f"{name}@x.example", issued_at=now) for name in ("holding", "released"))
    with KafkaOutbox(brokers) as outbox:
        for made in (*long_over, just_over, holding, released):
            written = int(made.issued_at.timestamp() * 1000)
            outbox.send("enforcement", made.key.encode(), encode(made), timestamp_ms=written)
        outbox.flush()
    topics = DecisionTopics(brokers, lambda *_: None)
    topics.lift([released], "operator:hana", "mistake", now)
    recorders = [PrometheusRecorder() for _ in range(2)]
    sweepers = [Sweeper(brokers, recorder, every=0.1) for recorder in recorders]

    def swept() -> list[float]:
        values = [r.registry.get_sample_value("sekimori_detect_swept_total") or 0.0 for r in recorders]
        return sorted(values)

    for sweeper in sweepers:
        sweeper.start()
    try:
        eventually(lambda: sum(swept()) >= 50, 40)
        assert swept() == [0, 50]
        assert {d.subject for d in topics.decisions()} == {"just@x.example", "holding@x.example"}
        assert [lifted["key"] for lifted in topics.lifted()] == [released.key]
        again = long_over[0]
        with KafkaOutbox(brokers) as outbox:
            written = int(again.issued_at.timestamp() * 1000)
            outbox.send("enforcement", again.key.encode(), encode(again), timestamp_ms=written)
            outbox.flush()
        eventually(lambda: sum(swept()) == 51, 40)
    finally:
        for sweeper in sweepers:
            sweeper.stop()
    stored = [m for record in KafkaLog(brokers).read("enforcement", 0, 0) for m in messages_of(record)]
    assert [m.subject for m in stored if isinstance(m, Release)] == ["released@x.example"]
    assert len(stored) == 55
