"""``sekimori prepare --tallies``: more partitions where subjects are counted, and everything that was counted."""

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from jobs.prepare import grow_tallies
from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.kafka.client import KafkaLog, partition_counts
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.streams.partitions.growing import GrowthRefused
from pipeline.ports import BrokerUnavailable
from schemas.enforcement import Decision
from schemas.topics import DETECT_STATE, TALLIES
from tests.streams.test_cluster import COPIES, Events, Feeder, expected, settle
from tests.streams.test_topics_anew import saved_to
from tests.support.cluster import Job, running, wait_for
from tests.support.servers import sekimori

MORE = 2 * COPIES
__all__ = ["expected"]


def grow(broker: EmbeddedBroker, number: int, *options: str) -> subprocess.CompletedProcess[str]:
    """As an operator does."""
    words = sekimori("prepare", "--broker", broker.bootstrap, "--tallies", str(number), *options)
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def refused(broker: EmbeddedBroker, number: int) -> str:
    """Why it is not done, without the start of a process."""
    with pytest.raises((GrowthRefused, BrokerUnavailable)) as caught:
        grow_tallies(broker.bootstrap, number, wait=10)
    assert partition_counts(broker.bootstrap, [TALLIES.name]) == {TALLIES.name: COPIES}
    return str(caught.value)


def counted(broker: EmbeddedBroker, partitions: int) -> bool:
    """Has detect saved all that is on tallies?"""
    log = KafkaLog(broker.bootstrap)
    return all(
        saved_to(broker, DETECT_STATE.name, TALLIES.name, n) == log.end(TALLIES.name, n) - 1 for n in range(partitions)
    )


def jobs_of(broker: EmbeddedBroker, folder: Path, partitions: int) -> list[Job]:
    return [Job(name, broker.bootstrap, folder, partitions=str(partitions)) for name in ("normalize", "detect")]


@pytest.mark.parametrize("fresh_broker", ["apache"], indirect=True)
def test_with_more_partitions_counting_goes_on_as_if_nothing_had_been(
    fresh_broker: EmbeddedBroker, tmp_path: Path, expected: dict[str, Decision]
) -> None:
    """The normaliser is killed before, and so sends some frames again, by the new number."""
    feeder, events = Feeder(fresh_broker.bootstrap), Events(fresh_broker.bootstrap)
    feeder.feed(slice(0, 20))
    jobs = normalize, detect = jobs_of(fresh_broker, tmp_path, COPIES)
    with running(*jobs):
        wait_for(lambda: events.count() > feeder.events_of(10), "half of the events", 90, *jobs)
        normalize.kill()
        wait_for(lambda: counted(fresh_broker, COPIES), "all counted and saved", 60, detect)
        assert detect.stop() == 0

    def is_grown() -> bool:
        with suppress(GrowthRefused):  # the killed one counts until its session is over
            grow_tallies(fresh_broker.bootstrap, MORE, wait=10)
        return partition_counts(fresh_broker.bootstrap, [TALLIES.name]) == {TALLIES.name: MORE}

    wait_for(is_grown, "more partitions", 30)
    jobs = jobs_of(fresh_broker, tmp_path, MORE)
    with running(*jobs):
        feeder.feed(slice(20, None))
        wait_for(lambda: events.count() == feeder.events, "all events", 90, *jobs)
        settle(fresh_broker, expected, *jobs)
        assert [job.stop() for job in jobs] == [0, 0]
    log = KafkaLog(fresh_broker.bootstrap)
    assert all(log.end(TALLIES.name, n) for n in range(MORE))
    events.close()


@pytest.mark.parametrize("fresh_broker", ["apache"], indirect=True)
def test_it_is_said_what_is_to_be_done_before_and_after(fresh_broker: EmbeddedBroker, tmp_path: Path) -> None:
    feeder, events = Feeder(fresh_broker.bootstrap), Events(fresh_broker.bootstrap)
    feeder.feed(slice(0, 2))
    jobs = jobs_of(fresh_broker, tmp_path, COPIES)
    with running(*jobs):
        wait_for(lambda: events.count() == feeder.events_of(2), "events", 90, *jobs)
        assert "normalize (1) and detect (1) at work: stop all of them" in refused(fresh_broker, MORE)
        assert [job.stop() for job in jobs] == [0, 0]
    events.close()
    assert "cannot have fewer" in refused(fresh_broker, 2)
    assert "4 or 8, not 6" in refused(fresh_broker, 6)
    with KafkaOutbox(fresh_broker.bootstrap) as out:
        out.send(TALLIES.name, None, b"no tally", partition=1)
        out.flush()
    assert "partition 1, has messages that are not counted" in refused(fresh_broker, MORE)
    detect = Job("detect", fresh_broker.bootstrap, tmp_path)
    with running(detect):
        wait_for(lambda: counted(fresh_broker, COPIES), "all counted and saved", 60, detect)
        assert detect.stop() == 0
    assert [
        (report.status, report.before) for report in grow_tallies(fresh_broker.bootstrap, MORE, 10, dry_run=True)
    ] == [
        ("grown", COPIES),
        ("grown", COPIES),
    ]
    assert partition_counts(fresh_broker.bootstrap, [TALLIES.name]) == {TALLIES.name: COPIES}
    run = grow(fresh_broker, MORE, "--json")
    assert run.returncode == 0, run
    told = {report["name"]: report for report in map(json.loads, run.stdout.splitlines())}
    assert {name: (report["before"], report["partitions"]) for name, report in told.items()} == {
        TALLIES.name: (COPIES, MORE),
        DETECT_STATE.name: (COPIES, MORE),
    }
    assert "set SEKIMORI_PARTITIONS=8" in told[TALLIES.name]["advice"][0]
    assert {report.status for report in grow_tallies(fresh_broker.bootstrap, MORE, 10)} == {"present"}
    too_few = Job("detect", fresh_broker.bootstrap, tmp_path, partitions=str(COPIES))
    wait_for(lambda: too_few.process.poll() == 1, "the end of a job that is set to the former number", 60)
    assert "set it to 8" in too_few.log.read_text()


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_a_broker_that_cannot_do_it_says_so(fresh_broker: EmbeddedBroker) -> None:
    run = grow(fresh_broker, MORE)
    assert run.returncode == 1
    assert "lacks what is asked for" in run.stderr
    assert "Traceback" not in run.stderr
