"""Whatever a sender, or the broker, packs messages with: jobs (aiokafka) and agents (kafka-python) read them."""

import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from pipeline.adapters.kafka.client import admin
from pipeline.adapters.kafka.topics import create_topics
from schemas.codec import decode_events, encode
from tests.support.cluster import Job, count_records, running, wait_for
from tests.support.decisions import decision
from tests.support.servers import BROKERS, free_port, sekimori
from tests.unit.hooks.test_postfix import request

CODECS = ("gzip", "snappy", "lz4", "zstd")
LINE = (
    "2026-11-24T10:00:{:02}+00:00 mx1 postfix/smtpd[7]: 4F{:08}: client=c[198.51.100.7], "
    "sasl_method=PLAIN, sasl_username={}@x.example"
)


def send(bootstrap: str, codec: str | None, topic: str, key: str, value: bytes) -> None:
    """As one of many senders does it."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec)
    try:
        producer.send(topic, key=key.encode(), value=value).get(20)
    finally:
        producer.close()


def lines(codec: str, count: int = 60) -> bytes:
    return "\n".join(LINE.format(n, n, f"{codec}{n}") for n in range(count)).encode()


def alter(bootstrap: str, topic: str, **config: str) -> None:
    with admin(bootstrap) as client:
        client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])


def asked(port: int, account: str) -> str:
    """What Postfix is told."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(request(sasl_username=account) + b"\n\n")
        return connection.recv(4096).decode().removeprefix("action=")


def accounts(bootstrap: str) -> set[str | None]:
    return {event.account for frame in count_records(bootstrap, "events") for event in decode_events(frame)}


@pytest.mark.servers
def test_messages_are_read_in_every_compression(tmp_path: Path, eventually: Callable[..., None]) -> None:
    with BROKERS["apache"](tmp_path) as broker:
        bootstrap = broker.bootstrap
        create_topics(bootstrap, partitions=1)
        policy = free_port()
        normalize = Job("normalize", bootstrap, tmp_path, partitions="1")
        agent = Job("enforce", bootstrap, tmp_path, f"--policy=127.0.0.1:{policy}")
        jobs = (normalize, agent)
        with running(*jobs):
            wait_for(lambda: "decisions_read" in agent.log.read_text(), "the agent answers", 60, *jobs)
            expected = set()
            for topic_codec in ("producer", *CODECS[1:]):  # what the broker makes of the messages
                if topic_codec != "producer":
                    for topic in ("maillog", "enforcement"):
                        alter(bootstrap, topic, **{"compression.type": topic_codec})
                for codec in CODECS if topic_codec == "producer" else (None,):
                    name = codec or f"by-broker-{topic_codec}"
                    send(bootstrap, codec, "maillog", "mx1", lines(name))
                    expected |= {f"{name}{n}@x.example" for n in range(60)}
                    made = decision(f"{name}@x.example", issued_at=datetime.now(UTC), reason="x" * 500)
                    send(bootstrap, codec, "enforcement", made.key, encode(made))
                    eventually(lambda name=name: asked(policy, f"{name}@x.example").startswith("REJECT"), 20, name)
            eventually(lambda: expected <= accounts(bootstrap), 30, "all events")
        told = subprocess.run(
            sekimori("prepare", "--broker", bootstrap, "--partitions", "1"), capture_output=True, text=True, check=False
        )
        assert told.returncode == 1
        assert "compression.type is zstd, not producer" in " ".join(told.stdout.split())
