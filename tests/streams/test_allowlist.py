"""The one reader of the allowlist on real brokers: the detector's copy is what the topic says, whatever happened."""

from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.kafka.client import TopicReader
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.topics import create_topics
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.adapters.streams.watch import AllowlistWatch
from schemas.codec import encode
from schemas.setting import Setting
from schemas.tally import Tally
from schemas.topics import SETTINGS
from tests.support.decisions import NOW, allow

Eventually = Callable[..., None]

ALICE, BOB, CAROL = (Tally("account", f"{name}@example.org", "", "", NOW) for name in ("alice", "bob", "carol"))


def write(bootstrap: str, *messages: Setting | str) -> None:
    """Entries, and keys to lift."""
    with KafkaOutbox(bootstrap) as outbox:
        for message in messages:
            key, value = (message, None) if isinstance(message, str) else (message.key, encode(message))
            outbox.send(SETTINGS.name, key.encode(), value)
        outbox.flush()


@pytest.fixture
def watch(fresh_broker: EmbeddedBroker) -> Iterator[AllowlistWatch]:
    made = AllowlistWatch(lambda: TopicReader(fresh_broker.bootstrap, [SETTINGS.name]), PrometheusRecorder())
    yield made
    made.stop()


def test_an_entry_written_with_capitals_and_lifted_by_its_key_is_gone(
    fresh_broker: EmbeddedBroker, watch: AllowlistWatch, eventually: Eventually
) -> None:
    entry = allow("Alice@Example.org")
    write(fresh_broker.bootstrap, entry)
    watch.start()
    eventually(lambda: watch.granted.covers(ALICE), 20)
    write(fresh_broker.bootstrap, allow("bob@example.org"), entry.key)
    eventually(lambda: watch.granted.covers(BOB) and not watch.granted.covers(ALICE))


def test_what_was_lifted_while_the_broker_was_lost_is_gone(
    fresh_broker: EmbeddedBroker, watch: AllowlistWatch, eventually: Eventually
) -> None:
    entries = allow("alice@example.org"), allow("bob@example.org")
    write(fresh_broker.bootstrap, *entries)
    watch.start()
    eventually(lambda: watch.granted.covers(ALICE) and watch.granted.covers(BOB), 20)
    with capture_logs() as logs:
        fresh_broker.kill()
        eventually(lambda: "topics_unavailable" in [log["event"] for log in logs], 30)
    fresh_broker.restart()
    if fresh_broker.kind == "embedded":  # it forgets: as if compaction had removed the entry and its tombstone
        create_topics(fresh_broker.bootstrap, partitions=4)
        write(fresh_broker.bootstrap, allow("bob@example.org"), allow("carol@example.org"))
    else:
        write(fresh_broker.bootstrap, entries[0].key, allow("carol@example.org"))
    eventually(lambda: watch.granted.covers(CAROL), 60)
    assert not watch.granted.covers(ALICE)
    assert watch.granted.covers(BOB)
