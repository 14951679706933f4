"""Jobs that cannot go on say so and end, jobs that can go on do, and SIGTERM ends each of them in time."""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.streams.ending import SECONDS
from schemas.codec import decode_decision, encode
from schemas.tally import Tally
from tests.streams.test_cluster import Events
from tests.streams.test_topics_anew import saved_to
from tests.support.cluster import FRAME, Job, count_records, decisions, feed, running, wait_for
from tests.support.paths import RECORDED
from tests.support.servers import free_port

APACHE = pytest.mark.parametrize("fresh_broker", ["apache"], indirect=True)
STAMP_MS = 1_795_485_300_000
NAMES = ("normalize", "detect")
LIMIT = 600  # messages of an account from its own country
HANGS = 45.0  # seconds


def _signal(broker: EmbeddedBroker, number: int) -> None:
    for pid in broker.pids:
        os.kill(pid, number)


def _frames(log: str) -> int:
    return -(-len((RECORDED / log).read_bytes().splitlines()) // FRAME)


@APACHE
def test_after_a_broker_that_hung_jobs_go_on_or_end_and_say_why(fresh_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Whoever ends is started again, as a supervisor does."""
    jobs = {name: Job(name, fresh_broker.bootstrap, tmp_path) for name in NAMES}
    with running(*jobs.values()), closing(Events(fresh_broker.bootstrap)) as events:
        feed(fresh_broker.bootstrap, STAMP_MS, maillog=(RECORDED / "mail.log", 0))
        wait_for(lambda: events.count() > 0, "the first events", 60, *jobs.values())
        _signal(fresh_broker, signal.SIGSTOP)
        hung = time.monotonic()
        wait_for(lambda: time.monotonic() - hung > HANGS, "the broker hangs", 2 * HANGS)
        _signal(fresh_broker, signal.SIGCONT)
        feed(fresh_broker.bootstrap, STAMP_MS, authlog=(RECORDED / "dovecot.log", 1))
        wanted = {(b"maillog-0", n) for n in range(_frames("mail.log"))}
        wanted |= {(b"authlog-1", n) for n in range(_frames("dovecot.log"))}

        def goes_on() -> bool:
            for name, job in jobs.items():
                if job.process.poll() is not None:
                    assert job.process.returncode == 1
                    assert "job_failed" in job.log.read_text() or "Error: " in job.log.read_text()
                    jobs[name] = Job(name, fresh_broker.bootstrap, tmp_path)
            events.count()
            found = {(source, int(offset)) for source, offset in events.frames}
            return found == wanted and bool(decisions(fresh_broker.bootstrap))

        try:
            wait_for(goes_on, "work goes on", 150)
        except AssertionError as error:
            error.add_note(f"frames missing: {wanted - {(s, int(n)) for s, n in events.frames}}")
            for log in sorted(tmp_path.glob("*.log")):
                error.add_note(f"{log}:\n{log.read_text()[-3000:]}")
            raise
        finally:
            logs = [job.log.read_text() for job in jobs.values()]
            for job in jobs.values():
                began = time.monotonic()
                status = job.stop()
                assert time.monotonic() - began < SECONDS + 5, logs
                assert status in (0, 1)


@APACHE
def test_sigterm_ends_jobs_while_the_broker_hangs(fresh_broker: EmbeddedBroker, tmp_path: Path) -> None:
    jobs = [Job(name, fresh_broker.bootstrap, tmp_path) for name in NAMES]
    with running(*jobs):
        feed(fresh_broker.bootstrap, STAMP_MS, maillog=(RECORDED / "mail.log", 0))
        wait_for(lambda: all(job.is_at_work() for job in jobs), "both at work", 60, *jobs)
        _signal(fresh_broker, signal.SIGSTOP)
        try:
            for job in jobs:
                job.process.send_signal(signal.SIGTERM)
            for job in jobs:
                assert job.process.wait(timeout=SECONDS + 10) in (0, 1)
                assert job.process.returncode == 0 or "did not end within 25 seconds" in job.log.read_text()
        finally:
            _signal(fresh_broker, signal.SIGCONT)


@APACHE
def test_what_the_consumer_cannot_read_ends_the_job_with_a_word(fresh_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Bytes of a segment are not those that were written: its checksum tells."""
    with KafkaOutbox(fresh_broker.bootstrap) as out:
        out.send("maillog", b"mx", b"x" * 5000, partition=0, timestamp_ms=STAMP_MS)
        out.flush()
    fresh_broker.stop()
    (segment,) = (fresh_broker.folder / "data" / "maillog-0").glob("*.log")
    written = bytearray(segment.read_bytes())
    at = written.index(b"x" * 1000)
    written[at + 500] = ord("y")
    segment.write_bytes(written)
    fresh_broker.restart()
    job = Job("normalize", fresh_broker.bootstrap, tmp_path)
    with running(job):
        wait_for(lambda: job.process.poll() is not None, "the end of the job", 90)
    assert job.process.returncode == 1
    told = [line for line in job.log.read_text().splitlines() if "job_failed" in line]
    assert len(told) == 1
    assert "Corrupt" in told[0]


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_a_damaged_geoip_file_is_told_and_the_old_one_kept(fresh_broker: EmbeddedBroker, tmp_path: Path) -> None:
    path, port = tmp_path / "geo.mmdb", free_port()
    path.write_bytes((RECORDED / "geo.mmdb").read_bytes())
    job = Job("normalize", fresh_broker.bootstrap, tmp_path, f"--metrics=127.0.0.1:{port}", geoip=str(path))
    with running(job):
        feed(fresh_broker.bootstrap, STAMP_MS, maillog=(RECORDED / "mail.log", 0))
        wait_for(lambda: bool(count_records(fresh_broker.bootstrap, "events")), "the first events", 60, job)
        path.write_bytes(path.read_bytes()[:1000])
        wait_for(lambda: "geoip_refused" in job.log.read_text(), "the file is refused", 30, job)
        fed = feed(fresh_broker.bootstrap, STAMP_MS, maillog=(RECORDED / "mail.log", 1))
        assert fed
        wait_for(lambda: _health(port)[0] == 200, "it is well", 30, job)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert b"sekimori_normalize_geoip_refused_total 1.0" in answer.read()
        assert job.stop() == 0
    again = Job("normalize", fresh_broker.bootstrap, tmp_path, geoip=str(path))
    with running(again):
        wait_for(lambda: again.process.poll() is not None, "the end of the job", 30)
    assert again.process.returncode == 1
    assert "no usable MaxMind DB file" in again.log.read_text()
    assert "Traceback" not in again.log.read_text()


def _health(port: int, path: str = "healthz") -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except (urllib.error.URLError, ConnectionError):
        return 0, {}


@APACHE
def test_health_tells_who_is_ready(fresh_broker: EmbeddedBroker, tmp_path: Path) -> None:
    port = free_port()
    job = Job("normalize", fresh_broker.bootstrap, tmp_path, f"--metrics=127.0.0.1:{port}")
    with running(job):
        feed(fresh_broker.bootstrap, STAMP_MS, maillog=(RECORDED / "mail.log", 2))
        wait_for(lambda: _health(port, "readyz")[0] == 200, "it is ready", 60, job)
        wait_for(lambda: _health(port)[1]["partitions"] == ["maillog-2"], "its partition", 30, job)
        _signal(fresh_broker, signal.SIGSTOP)
        try:
            wait_for(lambda: _health(port, "readyz")[0] == 503, "it is not ready", 90)
            assert "broker does not answer" in str(_health(port, "readyz")[1]["why"])
        finally:
            _signal(fresh_broker, signal.SIGCONT)


@APACHE
def test_a_frozen_worker_that_comes_back_and_is_killed_has_spoiled_nothing(
    fresh_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    """All of one account's messages are counted, whoever has counted them: the limit is met to the message."""
    sent = 0

    def send(count: int, number: int = 1) -> None:
        nonlocal sent
        with KafkaOutbox(fresh_broker.bootstrap) as out:
            for _ in range(count):
                headers = (("source", b"maillog-0"), ("offset", b"%d" % sent))
                tally = Tally("account", "a@x.example", "198.51.100.7", "JP", STAMP_MS / 1000, messages=number)
                out.send("tallies", None, encode(tally), headers, partition=0, timestamp_ms=STAMP_MS)
                sent += 1
            out.flush()

    def saved(*jobs: Job) -> None:
        wait_for(lambda: saved_to(fresh_broker, "detect-state", "tallies", 0) == sent - 1, "all is saved", 60, *jobs)

    first = Job("detect", fresh_broker.bootstrap, tmp_path)
    with running(first):
        send(100)
        saved(first)
        send(20)
        wait_for(lambda: saved_to(fresh_broker, "detect-state", "tallies", 0) >= 99, "work", 30, first)
        first.freeze()
        second = Job("detect", fresh_broker.bootstrap, tmp_path)
        with running(second):
            saved(second)
            send(50)
            saved(second)
            first.thaw()
            send(20)
            saved(second)
            first.kill()
            second.kill()
        third = Job("detect", fresh_broker.bootstrap, tmp_path)
        with running(third):
            send(LIMIT - 1 - sent)
            saved(third)
            assert not decisions(fresh_broker.bootstrap)
            send(1)
            wait_for(lambda: bool(decisions(fresh_broker.bootstrap)), "the decision", 30, third)
            assert third.stop() == 0
    found = [decode_decision(value) for value in count_records(fresh_broker.bootstrap, "enforcement")]
    assert [d.rule for d in found] == ["account_send_rate"]
