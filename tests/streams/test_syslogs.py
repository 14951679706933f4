"""rsyslog and syslog-ng as senders, set up as docs/shippers.md says, and as they are by default: without keys."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

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


def mail(number: int, domain: str) -> Iterator[str]:
    """The lines of one mail; its account is ``u<number>@domain``."""
    host, queue_id, sender = (
        HOSTS[number % len(HOSTS)],
        f"4F{crc32(domain.encode()) % 1000:03}{number:05}",
        f"u{number}@{domain}",
    )
    for program, text in (
        ("smtpd[7]", f"client=c[198.51.100.7], sasl_method=PLAIN, sasl_username={sender}"),
        ("cleanup[8]", f"message-id=<{number}@{domain}>"),
        ("qmgr[9]", f"from=<{sender}>, size=900, nrcpt=1 (queue active)"),
        ("smtp[10]", f"to=<r@{domain}>, relay=y[192.0.2.1]:25, delay=1, dsn=2.0.0, status=sent (ok)"),
    ):
        yield f"Nov 24 10:00:{number % 60:02} {host} postfix/{program}: {queue_id}: {text}"


@contextmanager
def shipping(kind: str, keyed: bool, broker: EmbeddedBroker, folder: Path) -> Iterator[Rsyslog]:
    daemon, heading = DAEMONS[kind]
    wanted = of_page(heading).replace("kafka.example:9092", broker.bootstrap)
    action = wanted if keyed else UNKEYED[kind].format(broker.bootstrap)
    with daemon(folder, action) as made:
        wait_for(made.listens, f"{kind} listens", 20)
        yield made


def records_of(bootstrap: str) -> list[Record]:
    with TopicReader(bootstrap, ["maillog"]) as reader:
        records: list[Record] = []
        while reader.behind():
            records += reader.poll(0.2)
        return records


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with BROKERS["apache"](tmp_path_factory.mktemp("syslogs")) as broker:
        create_topics(broker.bootstrap, partitions=PARTITIONS)
        yield broker


@pytest.fixture(scope="module")
def normalize(broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    job = Job("normalize", broker.bootstrap, tmp_path_factory.mktemp("normalize"), partitions=str(PARTITIONS))
    with running(job):
        yield job


@pytest.mark.servers
@pytest.mark.parametrize("kind", list(DAEMONS))
@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
def test_every_submission_is_found(
    kind: str, keyed: bool, broker: EmbeddedBroker, normalize: Job, tmp_path: Path
) -> None:
    domain = f"{'keyed' if keyed else 'unkeyed'}.{kind}.example"
    lines = [line for number in range(MAILS) for line in mail(number, domain)]

    def raw() -> list[Record]:
        return [record for record in records_of(broker.bootstrap) if domain.encode() in (record.value or b"")]

    def submissions() -> Counter[str | None]:
        every = (event for frame in count_records(broker.bootstrap, "events") for event in decode_events(frame))
        return Counter(e.account for e in every if e.kind == "submission" and (e.account or "").endswith(domain))

    with shipping(kind, keyed, broker, tmp_path) as daemon:
        daemon.send(lines)
        wait_for(lambda: len(raw()) >= len(lines), "all lines on the topic", 60, normalize)
        if keyed:
            assert {record.key for record in raw()} == {host.encode() for host in HOSTS}
        else:
            assert None in {record.key for record in raw()}
        wait_for(lambda: submissions().total() >= MAILS, "all submissions", 60, normalize)
        assert submissions() == Counter(f"u{number}@{domain}" for number in range(MAILS))
