"""What operators lift, on a real broker with the real jobs: the same again is found again, old lines are not."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.kafka.client import TopicReader, admin
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.cli.decisions import decisions as command
from pipeline.replay import LogFrame, Replay
from pipeline.rules import build
from pipeline.rules.config import load
from schemas.enforcement import Decision
from schemas.topics import MAILLOG, TALLIES
from tests.support.cluster import FRAME, RECORDED, Job, decisions, running, wait_for

RECORDED_AT = datetime(2026, 11, 24, 1, 50, tzinfo=UTC)
AGO = timedelta(hours=12)
"""So long ago is the first attack: all restrictions are over, and none so long that it is swept away."""
SHORT = "".join(f'[rules.{name}]\nfor = "6h"\n' for name in ("account_many_origins", "success_after_failures"))
STAMP = re.compile(rb"^(\w{3} \d\d \d\d:\d\d:\d\d) ")
HISTORY = ("password_error_spike", "account_send_surge", "account_password_errors", "ip_password_errors")
"""Rules that ask what is usual, or which networks are known, and so tell somebody from somebody new."""
pytestmark = [pytest.mark.servers, pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)]


def dated(by: timedelta) -> list[bytes]:
    """The recorded mail log, later."""

    def later(match: re.Match[bytes]) -> bytes:
        at = datetime.strptime(f"2026 {match[1].decode()}", "%Y %b %d %H:%M:%S").replace(tzinfo=UTC) + by
        return f"{at:%b %d %H:%M:%S} ".encode()

    return [STAMP.sub(later, line) for line in (RECORDED / "mail.log").read_bytes().splitlines()]


def frames(lines: list[bytes]) -> list[bytes]:
    return [b"\n".join(lines[at : at + FRAME]) for at in range(0, len(lines), FRAME)]


def reference(by: timedelta) -> datetime:
    return RECORDED_AT + timedelta(minutes=5) + by


def as_new(by: timedelta, rules: Path) -> dict[str, datetime]:
    """Key -> when it was issued; of a detector that was told of nothing else."""
    replay = Replay(build(load(rules), "JP"), lookup=GeoFile(RECORDED / "geo.mmdb"))
    when = reference(by).timestamp()
    return issued(d for frame in frames(dated(by)) for d in replay.feed(LogFrame("maillog", frame, when))[1])


def issued(found: Iterable[Decision]) -> dict[str, datetime]:
    """By key. Which of several partitions accuses a network first is a matter of chance."""
    anytime = datetime.fromtimestamp(0, UTC)
    return {d.key: anytime if d.rule == "ip_accused" else d.issued_at for d in found if d.rule not in HISTORY}


class Cluster:
    """Both jobs at work on a broker."""

    def __init__(self, broker: EmbeddedBroker, folder: Path, rules: Path) -> None:
        self.bootstrap = broker.bootstrap
        self.jobs = [Job(name, broker.bootstrap, folder, rules=str(rules)) for name in ("normalize", "detect")]

    def ship(self, by: timedelta) -> None:
        """Sends the log, and returns when all of it is counted."""
        older = [("reference", b"%d" % (reference(by).timestamp() * 1000))]
        with KafkaOutbox(self.bootstrap) as out:
            for frame in frames(dated(by)):
                out.send("maillog", b"mx", frame, older, partition=0)
            out.flush()
        wait_for(self.is_done, "all is counted, and saved", 120, *self.jobs)

    def is_done(self) -> bool:
        """Have both jobs worked on all that there is?"""
        for group, topic in (("sekimori-normalize", MAILLOG.name), ("sekimori-detect", TALLIES.name)):
            with TopicReader(self.bootstrap, [topic]) as reader:
                ends = {place: end for place, end in reader.ends().items() if end}
            with admin(self.bootstrap) as client:
                done = {(tp.topic, tp.partition): o.offset for tp, o in client.list_group_offsets(group)[group].items()}
            if any(done.get(place, 0) < end for place, end in ends.items()):
                return False
        return True

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
    rules = tmp_path / "rules.toml"
    rules.write_text(SHORT)
    start = datetime.now(UTC).replace(second=0, microsecond=0) - AGO - RECORDED_AT
    cluster = Cluster(fresh_broker, tmp_path, rules)
    with running(*cluster.jobs):
        cluster.ship(start)
        first = decisions(cluster.bootstrap)
        assert first["account:account_many_origins:victim01@testbed.example"].action == "reject"
        assert issued(first.values()) == as_new(start, rules)
        cluster.release_all()
        assert re.search("decision_released.*(hana.*victim01|victim01.*hana)", cluster.jobs[1].log.read_text())
        cluster.ship(start)  # the old lines once more
        assert issued(decisions(cluster.bootstrap).values()) == {}
        for minutes in (90, 180):  # an hour later a second mistake of one person counts again as the first
            by = start + timedelta(minutes=minutes)
            cluster.ship(by)
            assert issued(decisions(cluster.bootstrap).values()) == as_new(by, rules)
            cluster.release_all()
