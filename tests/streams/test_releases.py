"""What operators lift, on a real broker with the real jobs: the same again is found again, old lines are not."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.kafka.client import KafkaLog
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.cli.decisions import decisions as command
from pipeline.replay import LogFrame, Replay
from pipeline.rules import build
from pipeline.rules.config import load
from schemas.codec import decode_tallies
from schemas.enforcement import Decision
from schemas.topics import TALLIES
from tests.support.cluster import FRAME, RECORDED, Job, decisions, running, wait_for

YEAR = 2026
STAMP = re.compile(rb"^(\w{3} \d\d \d\d:\d\d:\d\d) ")
HISTORY = ("password_error_spike", "account_send_surge", "account_password_errors")
"""Rules that ask what is usual, or which networks are known, and so tell somebody from somebody new."""
pytestmark = [pytest.mark.servers, pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)]


def dated(by: timedelta) -> list[bytes]:
    """The recorded mail log, later."""

    def later(match: re.Match[bytes]) -> bytes:
        at = datetime.strptime(f"{YEAR} {match[1].decode()}", "%Y %b %d %H:%M:%S").replace(tzinfo=UTC) + by
        return f"{at:%b %d %H:%M:%S} ".encode()

    return [STAMP.sub(later, line) for line in (RECORDED / "mail.log").read_bytes().splitlines()]


def frames(lines: list[bytes]) -> list[bytes]:
    return [b"\n".join(lines[at : at + FRAME]) for at in range(0, len(lines), FRAME)]


def reference(by: timedelta) -> datetime:
    return datetime(YEAR, 11, 24, 1, 55, tzinfo=UTC) + by


def as_new(by: timedelta) -> dict[str, datetime]:
    """Key -> when it was issued; of a detector that was told of nothing else."""
    replay = Replay(build(load(None), "JP"), lookup=GeoFile(RECORDED / "geo.mmdb"))
    when = reference(by).timestamp()
    return issued(d for frame in frames(dated(by)) for d in replay.feed(LogFrame("maillog", frame, when))[1])


def issued(found: Iterable[Decision]) -> dict[str, datetime]:
    """By key. Which of several partitions accuses a network first is a matter of chance."""
    anytime = datetime.fromtimestamp(0, UTC)
    return {d.key: anytime if d.rule == "ip_accused" else d.issued_at for d in found if d.rule not in HISTORY}


class Cluster:
    """Both jobs at work on a broker."""

    def __init__(self, broker: EmbeddedBroker, folder: Path) -> None:
        self.bootstrap = broker.bootstrap
        self.jobs = [Job(name, broker.bootstrap, folder, checkpoint_seconds="0.3") for name in ("normalize", "detect")]

    def ship(self, by: timedelta) -> None:
        """Sends the log, and returns when all of it is counted."""
        end = self.counted()
        older = [("reference", b"%d" % (reference(by).timestamp() * 1000))]
        with KafkaOutbox(self.bootstrap) as out:
            for frame in frames(dated(by)):
                out.send("maillog", b"mx", frame, older, partition=0)
            out.flush()
        last: list[int] = []

        def is_quiet() -> bool:
            last.append(self.counted())
            return len(last) > 30 and last[-1] > end and len(set(last[-30:])) == 1

        wait_for(is_quiet, "all tallies are written", 60, *self.jobs)

    def counted(self) -> int:
        log = KafkaLog(self.bootstrap)
        return sum(
            len(decode_tallies(record.value or b""))
            for partition in range(4)
            for record in log.read(TALLIES.name, partition, 0)
        )

    def run(self, *arguments: str) -> str:
        result = CliRunner().invoke(command, ["--brokers", self.bootstrap, *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    def release_all(self) -> None:
        """As an operator types it, subject by subject."""
        told = self.jobs[1].log
        before = told.read_text().count("decision_released")
        made = decisions(self.bootstrap)
        for kind, subject in sorted({(d.subject_kind, d.subject) for d in made.values() if d.subject != "*"}):
            self.run("release", subject, "--kind", kind, "--note", "the customer has a new password", "--actor", "hana")
        lifted = sum(d.subject != "*" for d in made.values())
        wait_for(lambda: told.read_text().count("decision_released") == before + lifted, "detect hears", 30, *self.jobs)


def test_the_same_spam_after_a_release_is_found_as_of_somebody_new(
    fresh_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    cluster = Cluster(fresh_broker, tmp_path)
    with running(*cluster.jobs):
        cluster.ship(timedelta(0))
        first = decisions(cluster.bootstrap)
        assert first["account:account_many_origins:victim01@testbed.example"].action == "reject"
        assert issued(first.values()) == as_new(timedelta(0))
        cluster.release_all()
        assert re.search("decision_released.*hana.*victim01|victim01.*hana", cluster.jobs[1].log.read_text())
        cluster.ship(timedelta(0))  # the old lines once more
        assert issued(decisions(cluster.bootstrap).values()) == {}
        for minutes in (60, 180):
            by = timedelta(minutes=minutes)
            cluster.ship(by)
            assert issued(decisions(cluster.bootstrap).values()) == as_new(by)
            cluster.release_all()
