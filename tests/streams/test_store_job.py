"""``sekimori run store`` on real brokers and a real ClickHouse server, whoever is killed meanwhile."""

import subprocess
from datetime import UTC, datetime
from functools import partial

import msgspec
import pytest

from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.stores.clickhouse import ClickHouse
from pipeline.ports import RowStore, StoreError, StoreUnavailable
from schemas.codec import encode, encode_frame
from schemas.dead_letter import EXAMPLES as LETTERS
from schemas.enforcement import EXAMPLES as DECISIONS
from schemas.event import EXAMPLES, Event
from tests.support.cluster import Job, running, wait_for
from tests.support.servers import ClickHouseServer, EmbeddedBroker, free_port, sekimori

SUBMISSION = EXAMPLES[0]
PER_FRAME = 50
embedded = pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)


def frame(source: int, offset: int) -> list[Event]:
    """Events that can be told apart by ``queue_id``."""
    at = datetime.fromtimestamp(1_795_485_000 + offset, UTC)
    return [
        msgspec.structs.replace(SUBMISSION, time=at, queue_id=f"{source}-{offset}-{n}", nrcpt=3)
        for n in range(PER_FRAME)
    ]


def send(bootstrap: str, first: int, last: int) -> None:
    """Frames ``first`` to ``last`` of two sources, as a normaliser sends them: some of them twice."""
    with KafkaOutbox(bootstrap) as out:
        for source in (0, 1):
            for offset in (*range(first, last), *range(last - 3, last)):
                headers = (("source", b"maillog-%d" % source), ("offset", b"%d" % offset))
                out.send("events", b"mx%d" % source, encode_frame(frame(source, offset)), headers)
        out.flush()


def stored(store: RowStore) -> tuple[int, int, int]:
    """Events, different events, recipients by the rates; zeros while the store is away."""
    try:
        events = store.query("SELECT count() AS n, uniqExact(queue_id) AS different FROM events")
        rates = store.query("SELECT sum(recipients) AS n FROM rates_per_minute")
    except (StoreUnavailable, StoreError):
        return 0, 0, 0
    return int(events["n"][0]), int(events["different"][0]), int(rates["n"][0])


def prepare(broker: EmbeddedBroker, server: ClickHouseServer) -> None:
    env = {"SEKIMORI_CLICKHOUSE": server.address, "PATH": "/usr/bin:/bin"}
    command = sekimori("prepare", "--broker", broker.bootstrap)
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_everything_is_stored_once(fresh_broker: EmbeddedBroker, clickhouse: ClickHouseServer) -> None:
    prepare(fresh_broker, clickhouse)
    metrics = f"127.0.0.1:{free_port()}"
    send(fresh_broker.bootstrap, 0, 40)
    with KafkaOutbox(fresh_broker.bootstrap) as out:
        for decision in DECISIONS:
            out.send("enforcement", decision.key.encode(), encode(decision))
        note = (("actor", b"operator:hana"), ("note", b"the customer's scanner"))
        out.send("enforcement", DECISIONS[0].key.encode(), None, note)
        out.send("dead-letters", b"mx", encode(LETTERS[0]))
        out.send("events", b"mx", b'{"kind": "nonsense"}')
        out.flush()
    job = Job("store", fresh_broker.bootstrap, fresh_broker.folder, "--metrics", metrics, clickhouse=clickhouse.address)
    with running(job), ClickHouse(clickhouse.address) as store:
        wait_for(lambda: stored(store)[0] >= 80 * PER_FRAME, "events", 60, job)
        wait_for(lambda: len(store.query("SELECT * FROM releases")) == 1, "the release", 30, job)
        wait_for(lambda: len(store.query("SELECT * FROM dead_letters")) == 2, "dead letters", 30, job)
        assert stored(store) == (80 * PER_FRAME, 80 * PER_FRAME, 3 * 80 * PER_FRAME)
        decisions = store.query("SELECT * FROM decisions ORDER BY subject")
        assert decisions["id"].tolist() == [d.id for d in sorted(DECISIONS, key=lambda d: d.subject)]
        release = store.query("SELECT * FROM releases").to_dict("records")[0]
        assert release["subject"] == DECISIONS[0].subject
        assert (release["actor"], release["note"]) == ("operator:hana", "the customer's scanner")
        sources = store.query("SELECT source FROM dead_letters ORDER BY source")["source"]
        assert [source.rpartition("-")[0] for source in sources] == ["events", "maillog"]
        shown = subprocess.run(["curl", "-s", f"http://{metrics}/metrics"], capture_output=True, text=True, check=True)
        assert f'sekimori_store_rows_total{{table="events"}} {80 * PER_FRAME}.0' in shown.stdout
        assert job.stop() == 0


@embedded
def test_killed_jobs_lose_nothing_and_repeat_nothing(
    fresh_broker: EmbeddedBroker, clickhouse: ClickHouseServer
) -> None:
    prepare(fresh_broker, clickhouse)
    rounds = 4
    with ClickHouse(clickhouse.address) as store:
        for first in range(0, rounds * 100, 100):
            send(fresh_broker.bootstrap, first, first + 100)
            job = Job("store", fresh_broker.bootstrap, fresh_broker.folder, clickhouse=clickhouse.address)
            before = stored(store)[0]
            with running(job):
                wait_for(partial(more_than, store, before), "a first insert", 60, job)
                job.kill()  # most often between insert and commit
        job = Job("store", fresh_broker.bootstrap, fresh_broker.folder, clickhouse=clickhouse.address)
        total = 2 * (rounds * 100 + 10) * PER_FRAME
        with running(job):
            send(fresh_broker.bootstrap, rounds * 100, rounds * 100 + 10)
            wait_for(lambda: stored(store)[1] == total, "every event", 60, job)
            assert job.stop() == 0
        assert stored(store) == (total, total, 3 * total)


def more_than(store: RowStore, events: int) -> bool:
    return stored(store)[0] > events


@embedded
def test_a_store_that_is_away_is_waited_for(fresh_broker: EmbeddedBroker, fresh_clickhouse: ClickHouseServer) -> None:
    server, rounds = fresh_clickhouse, 3
    prepare(fresh_broker, server)
    job = Job("store", fresh_broker.bootstrap, fresh_broker.folder, clickhouse=server.address)
    with running(job), ClickHouse(server.address) as store:
        for first in range(0, rounds * 10, 10):
            send(fresh_broker.bootstrap, first, first + 5)
            wait_for(partial(more_than, store, 2 * first * PER_FRAME), "events", 60, job)
            server.kill()
            said = complaints(job)
            send(fresh_broker.bootstrap, first + 5, first + 10)
            wait_for(partial(complaints_beyond, job, said), "the job notices", 60, job)
            server.start()
        total = 2 * rounds * 10 * PER_FRAME
        wait_for(lambda: stored(store)[1] == total, "every event", 60, job)
        assert stored(store) == (total, total, 3 * total)
        assert job.stop() == 0


def complaints(job: Job) -> int:
    return job.log.read_text().count("store_unavailable")


def complaints_beyond(job: Job, said: int) -> bool:
    return complaints(job) > said


@embedded
def test_a_store_without_tables_ends_the_job_with_the_remedy(
    fresh_broker: EmbeddedBroker, clickhouse: ClickHouseServer
) -> None:
    send(fresh_broker.bootstrap, 0, 3)
    job = Job("store", fresh_broker.bootstrap, fresh_broker.folder, clickhouse=clickhouse.address)
    with running(job):
        assert job.process.wait(60) == 1
    assert "sekimori prepare" in job.log.read_text()
    assert "Traceback" not in job.log.read_text()


def test_a_job_without_an_address_says_so() -> None:
    command = sekimori("run", "store")
    run = subprocess.run(command, env={"PATH": "/usr/bin"}, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    assert "SEKIMORI_CLICKHOUSE is not set" in run.stderr
