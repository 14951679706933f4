"""The streaming jobs on real brokers: what they decide is what replay decides, whoever is killed meanwhile."""

import re
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from kafka import TopicPartition
from kafka.errors import NoError
from kafka.structs import OffsetAndMetadata

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.kafka.client import KafkaLog, TopicReader, admin
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.normalize.normalizer import Normalizer
from pipeline.ports import BrokerUnavailable
from pipeline.replay import LogFrame, Replay
from pipeline.rules import build
from pipeline.rules.config import load
from schemas.codec import decode_events
from schemas.enforcement import Decision, Evidence
from tests.support.cluster import FRAME, RECORDED, Job, decisions, running, wait_for
from tests.support.copies import copies
from tests.support.servers import sekimori

REFERENCE = 1795485300  # when the recording ended, seconds since 1970
OLDER = [("reference", b"%d" % (REFERENCE * 1000))]
COPIES = 4
EPOCH = datetime.fromtimestamp(0, UTC)
SHARED = ("country", "system")  # subjects that all copies share, so that the order between partitions shows in them


@pytest.fixture(scope="module")
def expected() -> dict[str, Decision]:
    """What an undisturbed run decides: replay, in memory."""
    found: dict[str, Decision] = {}
    for lines in copies(COPIES):
        replay = Replay(build(load(None), "JP"), lookup=GeoFile(RECORDED / "geo.mmdb"))
        for frame in _frames(lines):
            found.update((d.key, d) for d in replay.feed(LogFrame("maillog", frame, REFERENCE))[1])
    return _comparable(found)


def _frames(lines: list[bytes]) -> list[bytes]:
    return [b"\n".join(lines[at : at + FRAME]) for at in range(0, len(lines), FRAME)]


def _comparable(found: dict[str, Decision]) -> dict[str, Decision]:
    """Whole decisions, but for two things that the order between partitions decides: subjects that all copies share
    are left out, and of a network that accounts of several partitions accuse, when and by which the first time."""
    timeless = {"id": "", "reason": "", "evidence": Evidence(), "issued_at": EPOCH, "expires_at": EPOCH}
    return {
        key: msgspec.structs.replace(d, **timeless) if d.rule == "ip_accused" else d
        for key, d in found.items()
        if d.subject_kind not in SHARED
    }


class Feeder:
    """Sends the copies, each to its partition, in slices."""

    def __init__(self, bootstrap: str) -> None:
        self._frames = [_frames(lines) for lines in copies(COPIES)]
        self._bootstrap = bootstrap
        self.events = self.events_of(None)

    def events_of(self, stop: int | None) -> int:
        """Of the first frames of each copy: an event for each line, but for claims that wait for another line."""
        events = 0
        for frames in self._frames:
            normalizer = Normalizer(build(load(None), "JP").file.trusted)
            for number, frame in enumerate(frames[:stop]):
                events += len(normalizer.normalize(frame, REFERENCE, "maillog", number).events)
        return events

    def feed(self, share: slice) -> None:
        with KafkaOutbox(self._bootstrap) as out:
            for partition, frames in enumerate(self._frames):
                for frame in frames[share]:
                    out.send("maillog", b"mx", frame, OLDER, partition=partition)
            out.flush()


class Events:
    """Every frame of ``events``: (source, offset) -> number of events; the same frame may come twice."""

    def __init__(self, bootstrap: str) -> None:
        self._reader = TopicReader(bootstrap, ["events"])
        self.frames: dict[tuple[bytes, bytes], int] = {}

    def count(self) -> int:
        for record in self._reader.poll(0.1):
            headers = dict(record.headers)
            place = headers["source"], headers["offset"]
            events = len(decode_events(record.value or b""))
            assert self.frames.setdefault(place, events) == events, "a frame came again, and differed"
        return sum(self.frames.values())

    def close(self) -> None:
        self._reader.close()


def _jobs(bootstrap: str, folder: Path, names: Iterable[str]) -> list[Job]:
    return [Job(name, bootstrap, folder) for name in names]


def test_the_cluster_decides_what_replay_decides(
    fresh_broker: EmbeddedBroker, tmp_path: Path, expected: dict[str, Decision]
) -> None:
    jobs = _jobs(fresh_broker.bootstrap, tmp_path, ("normalize", "detect"))
    feeder, events = Feeder(fresh_broker.bootstrap), Events(fresh_broker.bootstrap)
    with running(*jobs):
        feeder.feed(slice(None))
        wait_for(lambda: events.count() == feeder.events, "all events", 90, *jobs)
        settle(fresh_broker, expected, *jobs)
        assert [job.stop() for job in jobs] == [0, 0]
    events.close()


def test_killed_workers_change_nothing(
    fresh_broker: EmbeddedBroker, tmp_path: Path, expected: dict[str, Decision]
) -> None:
    jobs = _jobs(fresh_broker.bootstrap, tmp_path, ("normalize", "normalize", "detect", "detect"))
    feeder, events = Feeder(fresh_broker.bootstrap), Events(fresh_broker.bootstrap)
    with running(*jobs):
        feeder.feed(slice(0, 12))
        wait_for(lambda: events.count() > 200, "the first events", 90, *jobs)
        jobs[0].kill()
        feeder.feed(slice(12, 24))
        wait_for(lambda: len(decisions(fresh_broker.bootstrap)) > 5, "the first decisions", 90, *jobs[1:])
        jobs[2].kill()
        feeder.feed(slice(24, None))
        rest = [jobs[1], jobs[3]]
        wait_for(lambda: events.count() == feeder.events, "all events", 90, *rest)
        settle(fresh_broker, expected, *rest)
        assert [job.stop() for job in rest] == [0, 0]
    events.close()


def test_a_restarted_job_goes_on_where_it_was(
    fresh_broker: EmbeddedBroker, tmp_path: Path, expected: dict[str, Decision]
) -> None:
    feeder, events = Feeder(fresh_broker.bootstrap), Events(fresh_broker.bootstrap)
    for share in (slice(0, 15), slice(15, 30), slice(30, None)):
        jobs = _jobs(fresh_broker.bootstrap, tmp_path, ("normalize", "detect"))
        with running(*jobs):
            before = events.count()
            feeder.feed(share)
            wait_for(lambda seen=before: events.count() > seen, "events", 90, *jobs)
            wait_for(lambda at_work=jobs: all(job.is_at_work() for job in at_work), "both at work", 90, *jobs)
            assert [job.stop() for job in jobs] == [0, 0]
    jobs = _jobs(fresh_broker.bootstrap, tmp_path, ("normalize", "detect"))
    with running(*jobs):
        wait_for(lambda: events.count() == feeder.events, "all events", 90, *jobs)
        settle(fresh_broker, expected, *jobs)
    events.close()


def test_a_worker_that_was_frozen_and_comes_back_changes_nothing(
    fresh_broker: EmbeddedBroker, tmp_path: Path, expected: dict[str, Decision]
) -> None:
    """Its partitions went to another meanwhile, who got further; it gets some of them back."""
    jobs = _jobs(fresh_broker.bootstrap, tmp_path, ("normalize", "normalize", "detect", "detect"))
    feeder, events = Feeder(fresh_broker.bootstrap), Events(fresh_broker.bootstrap)
    with running(*jobs):
        feeder.feed(slice(0, 12))
        wait_for(lambda: events.count() > 200, "the first events", 90, *jobs)
        for job in jobs[::2]:
            job.freeze()
        feeder.feed(slice(12, 24))
        wait_for(lambda: events.count() >= feeder.events_of(24), "events without the frozen", 90, *jobs)
        for job in jobs[::2]:
            job.thaw()
        feeder.feed(slice(24, None))
        wait_for(lambda: events.count() == feeder.events, "all events", 90, *jobs)
        settle(fresh_broker, expected, *jobs)
        assert [job.stop() for job in jobs] == [0] * 4
    events.close()


def test_what_the_consumer_leaves_out_is_read_all_the_same(
    fresh_broker: EmbeddedBroker, tmp_path: Path, expected: dict[str, Decision]
) -> None:
    """The group's offsets are ahead of the saved states, as if messages had got lost on their way to the job."""
    feeder, events = Feeder(fresh_broker.bootstrap), Events(fresh_broker.bootstrap)
    feeder.feed(slice(None))
    wait_for(lambda: _move(fresh_broker, "sekimori-normalize", "maillog", 7), "a coordinator", 60)
    wait_for(lambda: _move(fresh_broker, "sekimori-detect", "tallies", 3), "a coordinator", 60)
    jobs = _jobs(fresh_broker.bootstrap, tmp_path, ("normalize", "detect"))
    with running(*jobs):
        wait_for(lambda: events.count() == feeder.events, "all events", 90, *jobs)
        settle(fresh_broker, expected, *jobs)
        assert [job.stop() for job in jobs] == [0, 0]
    assert all("messages_left_out" in job.log.read_text() for job in jobs)
    events.close()


def test_a_state_that_cannot_be_read_ends_the_job_which_says_what_to_do(
    fresh_broker: EmbeddedBroker, tmp_path: Path, expected: dict[str, Decision]
) -> None:
    """One is torn, one of a version to come. With the state deleted as it is told, the job makes it anew."""
    feeder, events = Feeder(fresh_broker.bootstrap), Events(fresh_broker.bootstrap)
    feeder.feed(slice(0, 24))
    jobs = _jobs(fresh_broker.bootstrap, tmp_path, ("normalize", "detect"))
    with running(*jobs):
        wait_for(lambda: events.count() == feeder.events_of(24), "the first events", 90, *jobs)
        wait_for(lambda: len(decisions(fresh_broker.bootstrap)) > 5, "the first decisions", 90, *jobs)
        assert [job.stop() for job in jobs] == [0, 0]
    for topic, newest in (("normalize-state", b"5"), ("detect-state", b"2")):
        saved = [r for r in KafkaLog(fresh_broker.bootstrap).read(topic, 2, 0) if b"/" in (r.key or b"")]
        assert {dict(record.headers)["format"] for record in saved if record.value is not None} == {newest}
    _write(fresh_broker, "normalize-state", 1, saved_key(fresh_broker, "normalize-state", 1, "maillog-1"), b"torn")
    later = saved_key(fresh_broker, "detect-state", 2, "2/sources")
    _write(fresh_broker, "detect-state", 2, later, b"later", ("format", b"3"))
    feeder.feed(slice(24, None))
    told = _ends(Job("normalize", fresh_broker.bootstrap, tmp_path))
    assert "the state in normalize-state, partition 1, key maillog-1, cannot be read: it is damaged" in told
    _delete_as_told(fresh_broker, told, "normalize-state", 1)
    normalize = Job("normalize", fresh_broker.bootstrap, tmp_path)
    with running(normalize):
        wait_for(lambda: events.count() == feeder.events, "all events", 90, normalize)
        told = _ends(Job("detect", fresh_broker.bootstrap, tmp_path))
        assert "detect-state, partition 2, key 2/sources, cannot be read: its format is version 3" in told
        assert "Start the version of sekimori that wrote it" in told
        _delete_as_told(fresh_broker, told, "detect-state", 2)
        detect = Job("detect", fresh_broker.bootstrap, tmp_path)
        with running(detect):
            settle(fresh_broker, expected, detect, normalize)
            assert [job.stop() for job in (detect, normalize)] == [0, 0]
    events.close()


def test_a_state_that_cannot_be_read_ends_the_job_at_a_rebalance_too(
    fresh_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    """It is met by a worker that has long been at work, when another's partitions come to it."""
    jobs = _jobs(fresh_broker.bootstrap, tmp_path, ("normalize", "detect", "detect"))
    feeder = Feeder(fresh_broker.bootstrap)
    with running(*jobs):
        feeder.feed(slice(0, 12))
        wait_for(lambda: all(job.is_at_work() for job in jobs), "all at work", 90, *jobs)
        shards = [("detect-state", n, f"{n}/0") for n in range(COPIES)]
        wait_for(lambda: all(saved_keys(fresh_broker, *shard) for shard in shards), "states", 90, *jobs)
        jobs[1].kill()
        for shard in shards:
            for key in saved_keys(fresh_broker, *shard):
                _write(fresh_broker, *shard[:2], key, b"torn")
        feeder.feed(slice(12, None))
        told = _ends(jobs[2])
        assert re.search(r"the state in detect-state, partition (\d), key \1/0, cannot be read: it is damaged", told)
        assert jobs[0].stop() == 0


def saved_keys(broker: EmbeddedBroker, topic: str, partition: int, part: str) -> list[bytes]:
    """The keys of a part in the states of a partition, in the order of their last writing."""
    written: dict[bytes, int] = {}
    for record in KafkaLog(broker.bootstrap).read(topic, partition, 0):
        written.pop(record.key or b"", None)
        if record.value is not None:
            written[record.key or b""] = record.offset
    return [key for key in written if key.endswith(f"/{part}".encode())]


def saved_key(broker: EmbeddedBroker, topic: str, partition: int, part: str) -> bytes:
    """The same of the only one that there is."""
    (key,) = saved_keys(broker, topic, partition, part)
    return key


def _write(
    broker: EmbeddedBroker, topic: str, partition: int, key: bytes, value: bytes | None, *headers: tuple[str, bytes]
) -> None:
    with KafkaOutbox(broker.bootstrap) as out:
        out.send(topic, key, value, headers, partition=partition)
        out.flush()


def _ends(job: Job) -> str:
    """Waits until the job has ended of itself; the one line that says why."""
    with running(job):
        wait_for(lambda: job.process.poll() is not None, "the end of the job", 90)
    log = job.log.read_text()
    assert job.process.returncode == 1, log
    assert "Traceback" not in log
    assert "job_failed" not in log
    (told,) = [line for line in log.splitlines() if line.startswith("Error: ")]
    assert log.endswith(f"{told}\n")
    return told


def _delete_as_told(broker: EmbeddedBroker, told: str, topic: str, partition: int) -> None:
    """Runs the command in the message, as an operator would."""
    command = re.search(r"delete the state of this partition, with: sekimori (prepare --forget-state \S+); then ", told)
    assert command is not None, told
    assert command[1].endswith(f" {topic}/{partition}")
    words = sekimori(*command[1].split(), "--broker", broker.bootstrap)
    run = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run
    assert re.search(rf"{topic}, partition {partition}: \d+ parts deleted", run.stdout)


def _move(broker: EmbeddedBroker, group: str, topic: str, offset: int) -> bool:
    """Sets a group's offset in every partition; whether the broker, which may not be ready for it, has done so."""
    try:
        with admin(broker.bootstrap) as client:
            wanted = {TopicPartition(topic, n): OffsetAndMetadata(offset, "", -1) for n in range(COPIES)}
            told = client.alter_group_offsets(group, wanted)
    except BrokerUnavailable:
        return False
    return len(told) == COPIES and all(error is NoError for error in told.values())


def settle(broker: EmbeddedBroker, expected: dict[str, Decision], *jobs: Job) -> None:
    """Waits for the expected decisions, and shows the first difference if they do not come."""
    seen: dict[str, Decision] = {}

    def arrived() -> bool:
        seen.clear()
        seen.update(_comparable(decisions(broker.bootstrap)))
        return seen == expected

    try:
        wait_for(arrived, "the decisions of an undisturbed run", 60, *jobs)
    except AssertionError as error:
        differ = [k for k in expected.keys() | seen.keys() if expected.get(k) != seen.get(k)]
        for key in differ[:5]:
            error.add_note(f"{key}\n expected {expected.get(key)}\n      got {seen.get(key)}")
        error.add_note(f"{len(differ)} of {len(expected)} differ")
        raise
