"""rsyslog and syslog-ng as senders, set up as docs/shippers.md says, and as they are by default: without keys."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.kafka.client import TopicReader
from pipeline.adapters.kafka.topics import create_topics
from pipeline.ports import Record
from schemas.codec import decode_events
from tests.support.cluster import Job, count_records, running, wait_for
from tests.support.servers import BROKERS
from tests.support.syslogs import Rsyslog, SyslogNg, of_page

PARTITIONS = 4
HOSTS = ("mx1", "mx2", "mx3", "mx4", "mx5")
MAILS = 40
UNKEYED = {
    "rsyslog": 'module(load="omkafka")\naction(type="omkafka" broker=["{}"] topic="maillog" partitions.auto="on")\n',
    "syslog-ng": 'destination d_kafka {{ kafka-c(bootstrap-servers("{}") topic("maillog")); }};\n',
}
DAEMONS = {"rsyslog": (Rsyslog, "rsyslog (omkafka)"), "syslog-ng": (SyslogNg, "syslog-ng (kafka-c)")}


def mail(number: int) -> Iterator[str]:
    """The lines of one mail; its account is ``u<number>@x.example``."""
    host, at, queue_id = HOSTS[number % len(HOSTS)], f"Nov 24 10:00:{number % 60:02} ", f"4FAB{number:06}"
    yield f"{at}{host} postfix/smtpd[7]: {queue_id}: client=c[198.51.100.7], sasl_method=PLAIN, sasl_username=u{number}@x.example"
    yield f"{at}{host} postfix/cleanup[8]: {queue_id}: message-id=<{number}@x.example>"
    yield f"{at}{host} postfix/qmgr[9]: {queue_id}: from=<u{number}@x.example>, size=900, nrcpt=1 (queue active)"
    yield f"{at}{host} postfix/smtp[10]: {queue_id}: to=<r@y.example>, relay=y[192.0.2.1]:25, delay=1, dsn=2.0.0, status=sent (ok)"


LINES = [line for number in range(MAILS) for line in mail(number)]


@contextmanager
def shipping(kind: str, keyed: bool, broker: EmbeddedBroker, folder: Path) -> Iterator[Rsyslog]:
    daemon, heading = DAEMONS[kind]
    wanted = of_page(heading).replace("kafka.example:9092", broker.bootstrap)
    action = wanted if keyed else UNKEYED[kind].format(broker.bootstrap)
    with daemon(folder, action) as made:
        wait_for(made.listens, f"{kind} listens", 20)
        yield made


def raw(bootstrap: str) -> list[Record]:
    with TopicReader(bootstrap, ["maillog"]) as reader:
        records: list[Record] = []
        while reader.behind():
            records += reader.poll(0.2)
        return records


@pytest.mark.servers
@pytest.mark.parametrize("kind", list(DAEMONS))
@pytest.mark.parametrize("keyed", [True, False])
def test_every_submission_is_found(kind: str, keyed: bool, tmp_path: Path) -> None:
    with BROKERS["apache"](tmp_path) as broker:
        create_topics(broker.bootstrap, partitions=PARTITIONS)
        normalize = Job("normalize", broker.bootstrap, tmp_path, partitions=str(PARTITIONS))
        with running(normalize), shipping(kind, keyed, broker, tmp_path) as daemon:
            daemon.send(LINES)
            arrived = lambda: len([r for r in raw(broker.bootstrap) if r.key is None or keyed])  # noqa: E731
            wait_for(lambda: arrived() >= len(LINES), f"{len(LINES)} lines on the topic", 60, normalize)
            records = raw(broker.bootstrap)
            if keyed:
                assert {record.key for record in records} == {host.encode() for host in HOSTS}
            wait_for(lambda: sum(kinds(broker.bootstrap).values()) >= len(LINES), "all events", 60, normalize)
            assert kinds(broker.bootstrap) == Counter(connect=MAILS, other=MAILS, submission=MAILS, delivery=MAILS), found(broker.bootstrap)
            assert found(broker.bootstrap) == Counter(f"u{number}@x.example" for number in range(MAILS))


def events(bootstrap: str) -> list:
    return [event for frame in count_records(bootstrap, "events") for event in decode_events(frame)]


def kinds(bootstrap: str) -> Counter[str]:
    return Counter(event.kind for event in events(bootstrap))


def found(bootstrap: str) -> Counter[str]:
    """Submissions by account."""
    return Counter(event.account for event in events(bootstrap) if event.kind == "submission")
