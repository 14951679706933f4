"""Two installations on one Apache Kafka: each has topics, groups, states of its own, and sees none of the other."""

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from pipeline.adapters.kafka.client import KafkaLog, TopicReader, admin
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.security.access import Cluster
from pipeline.ports import TopicMissing
from schemas.topics import TOPICS
from tests.support.cluster import Command, Job, running, wait_for
from tests.support.lines import spam
from tests.support.servers import ApacheKafka, sekimori

pytestmark = pytest.mark.servers
PREFIXES = ("a.", "b-")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    with ApacheKafka(tmp_path_factory.mktemp("shared")) as kafka:
        for prefix in PREFIXES:
            run = sekimori_of(kafka, prefix, "prepare", "--partitions", "1", "--json")
            assert [json.loads(line)["name"] for line in run.stdout.splitlines()] == [prefix + t.name for t in TOPICS]
        yield kafka


def sekimori_of(kafka: ApacheKafka, prefix: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "SEKIMORI_BROKERS": kafka.bootstrap, "SEKIMORI_PREFIX": prefix}
    return subprocess.run(sekimori(*arguments), env=env, capture_output=True, text=True, timeout=90, check=True)


def _holds(table: Callable[[], dict[bytes, bytes]], key: bytes) -> bool:
    return key in table()


def test_what_one_decides_the_other_does_not_know(kafka: ApacheKafka, tmp_path: Path) -> None:
    jobs = {
        prefix: [
            Job(name, kafka.bootstrap, tmp_path, prefix=prefix, partitions="1") for name in ("normalize", "detect")
        ]
        for prefix in PREFIXES
    }
    clusters = {prefix: Cluster(kafka.bootstrap, prefix=prefix) for prefix in PREFIXES}
    accounts = {prefix: f"alice@{prefix[0]}.example" for prefix in PREFIXES}
    every = [job for of in jobs.values() for job in of]
    with running(*every):
        for prefix, account in accounts.items():
            log = spam(tmp_path, account)
            state = f"--state={tmp_path / prefix}"
            ship = Command("ship", kafka.bootstrap, tmp_path, str(log), "--host=mx", state, prefix=prefix)
            assert ship.process.wait(60) == 0, ship.log.read_text()
        for prefix, account in accounts.items():
            key = f"account:account_send_rate:{account}".encode()
            enforcement = partial(KafkaLog(clusters[prefix]).state, "enforcement")
            wait_for(partial(_holds, enforcement, key), f"the stop of {account}", 90, *every)
        assert {job.stop() for job in every} == {0}
    for prefix, account in accounts.items():
        with TopicReader(clusters[prefix], ["events"]) as reader:
            events = [record for record in iter(lambda: reader.poll(0.2), []) for record in record]
        assert {record.topic for record in events} == {"events"}
        sources = {dict(record.headers)["source"] for record in events}
        assert sources == {b"maillog-0"}  # frames are known by the same names, whatever the prefix
        assert all(account.encode() in (record.value or b"") for record in events)
        (other,) = set(accounts.values()) - {account}
        shown = sekimori_of(kafka, prefix, "decisions", "list", "--json").stdout
        assert account in shown
        assert other not in shown
    with admin(kafka.bootstrap) as client:
        topics = {name for name in client.list_topics() if not name.startswith("__")}
        groups = {group["group_id"] for group in client.list_groups()}
    assert topics == {prefix + topic.name for prefix in PREFIXES for topic in TOPICS}
    assert groups == {f"{prefix}sekimori-{job}" for prefix in PREFIXES for job in ("normalize", "detect", "sweep")}


def test_names_go_in_and_come_back_without_the_prefix(kafka: ApacheKafka) -> None:
    cluster = Cluster(kafka.bootstrap, prefix=PREFIXES[0])
    with KafkaOutbox(cluster) as out:
        out.send("settings", b"allow:account:x", b"1")
        assert set(out.flush()) == {("settings", 0)}
    assert KafkaLog(cluster).state("settings") == {b"allow:account:x": b"1"}
    assert KafkaLog(Cluster(kafka.bootstrap, prefix=PREFIXES[1])).state("settings") == {}
    with TopicReader(cluster, ["settings"]) as reader:
        end = reader.ends()["settings", 0]
    with TopicReader(cluster, ["settings"], {("settings", 0): end}) as reader:
        assert reader.positions() == {("settings", 0): end} == reader.heartbeat()[0]
    with pytest.raises(TopicMissing, match="no topic maillog at"):
        KafkaLog(kafka.bootstrap).state("maillog")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--replication", "3"], "SEKIMORI_REPLICATION: there are 1 brokers"),
        (["--replication", "1", "--min-insync", "2"], "SEKIMORI_MIN_INSYNC: 2 is more than SEKIMORI_REPLICATION=1"),
    ],
)
def test_more_replicas_than_brokers_are_refused(kafka: ApacheKafka, options: list[str], says: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        sekimori_of(kafka, "c.", "prepare", *options)
    assert says in refused.value.stderr
    with admin(kafka.bootstrap) as client:
        assert not [name for name in client.list_topics() if name.startswith("c.")]


def test_too_few_replicas_and_too_high_a_minimum_are_told(kafka: ApacheKafka) -> None:
    made = sekimori_of(kafka, "d.", "prepare", "--json", "--replication", "1", "--min-insync", "1")
    assert [report["warnings"] for report in map(json.loads, made.stdout.splitlines())] == [[]] * len(TOPICS)
    later = sekimori_of(kafka, "d.", "prepare", "--json", "--replication", "3")
    for report in map(json.loads, later.stdout.splitlines()):
        brokers, replicas = report["warnings"]
        assert brokers == "there are 1 brokers, fewer than SEKIMORI_REPLICATION=3"
        assert replicas.startswith("1 replicas, fewer than SEKIMORI_REPLICATION=3; ")
    with pytest.raises(subprocess.CalledProcessError) as differs:
        sekimori_of(kafka, "d.", "prepare", "--json", "--min-insync", "2")
    for report in map(json.loads, differs.value.stdout.splitlines()):
        assert report["differences"] == ["min.insync.replicas is 1, not 2"]
        assert f"--entity-name {report['name']} --add-config min.insync.replicas=2" in report["advice"][0]
