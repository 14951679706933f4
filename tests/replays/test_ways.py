"""Mail that goes through filters, to dead recipients, or through a webmail on the mail host: the rules that we ship,
whatever the way, decide as on the plain one. Logs in the forms that the servers write; ``real-*`` were written by them.
"""

import gzip
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from msgspec.structs import replace

from pipeline.adapters.geoip import GeoFile
from pipeline.networks import OurHosts
from pipeline.normalize.dead_recipients import is_dead_recipient
from pipeline.normalize.normalizer import Normalizer
from pipeline.replay import LogFrame, Replay
from pipeline.rules import build
from pipeline.rules.config import load
from schemas.codec import decode_events, encode_frame
from schemas.enforcement import Decision
from schemas.event import Event
from tests.support.paths import RECORDED

WAYS = Path(__file__).parent / "ways"
REFERENCE = 1_796_083_200.0  # 2026-12-01
VICTIM = "victim@example.org"
OURS = OurHosts(hosts=["127.0.0.0/8"])


def content(name: str) -> bytes:
    raw = (WAYS / name).read_bytes()
    return gzip.decompress(raw) if name.endswith(".gz") else raw


@cache
def decisions(name: str) -> tuple[Decision, ...]:
    flow = Replay(build(load(None), "JP"), lookup=GeoFile(RECORDED / "geo.mmdb"))
    frames = [LogFrame(name, line, REFERENCE) for line in content(name).splitlines(keepends=True)]
    return tuple(d for frame in frames for d in flow.feed(frame)[1])


@cache
def events(name: str) -> tuple[Event, ...]:
    return tuple(Normalizer(OURS).normalize(content(name), REFERENCE, name, 0).events)


def first(name: str) -> dict[tuple[str, str], datetime]:
    """When each rule stopped each account first."""
    found = [d for d in decisions(name) if d.subject_kind == "account"]
    return {(d.rule, d.subject): d.issued_at for d in reversed(found)}


@pytest.mark.parametrize("way", ["before-queue.log.gz", "content-filter.log.gz"])
def test_a_filter_changes_no_decision(way: str) -> None:
    stopped = first("no-filter.log.gz")
    assert stopped["account_send_rate", VICTIM] == datetime(2026, 11, 24, 10, 0, 19, tzinfo=UTC)
    assert first(way) == stopped


@pytest.mark.parametrize("way", ["before-queue.log.gz", "content-filter.log.gz", "no-filter.log.gz"])
def test_each_message_counts_once(way: str) -> None:
    sent = [e for e in events(way) if e.kind == "submission"]
    assert len(sent) == 400
    assert {(e.account, e.client_ip, e.nrcpt) for e in sent} == {(VICTIM, "198.18.112.5", 5)}


@pytest.mark.parametrize("dsn", ["5.0.0", "5.1.1"])
def test_dead_recipients_are_told_by_code_and_by_text(dsn: str) -> None:
    """Each message has one, every six seconds; its bounce is logged two seconds later."""
    name = f"bounces-{dsn}.log.gz"
    assert first(name)["failed_recipients", VICTIM] == datetime(2026, 11, 24, 10, 1, 56, tzinfo=UTC)


def test_a_webmail_on_the_mail_host_has_the_limits_of_webmail_without_a_setting() -> None:
    name = "webmail-on-the-mail-host.log.gz"
    decision = next(d for d in decisions(name) if d.rule == "account_send_rate")
    assert (decision.subject, decision.subject_kind) == (VICTIM, "account")
    before = [e for e in events(name) if e.kind == "submission" and e.time <= decision.issued_at]
    assert len(before) == 25
    assert {(e.service, e.channel) for e in before} == {("webmail", "webmail")}
    assert [d.subject_kind for d in decisions(name) if d.subject == "127.0.0.1"] == []


@pytest.mark.parametrize("name", sorted(path.name for path in WAYS.iterdir()))
def test_stored_events_and_a_restart_anywhere_give_the_same_tallies(name: str) -> None:
    """Frames of seven lines, each joined by a normalizer that was made anew from the state of the one before."""
    lines = content(name).splitlines(keepends=True)[:700]
    frames = [b"".join(lines[at : at + 7]) for at in range(0, len(lines), 7)]
    through, state = Normalizer(OURS), Normalizer(OURS).dump()
    for number, frame in enumerate(frames):
        batch = through.normalize(frame, REFERENCE, name, number)
        restarted = Normalizer(OURS)
        restarted.load(state)
        assert restarted.normalize(frame, REFERENCE, name, number) == batch
        state = restarted.dump()
        stored = decode_events(encode_frame(batch.events)) if batch.events else []
        told = [replace(tally, samples=()) for tally in through.retell(stored)]
        assert told == [replace(tally, samples=()) for tally in batch.tallies]


# --- as a real Postfix 3.7, and Dovecot 2.3, wrote it ----------------------------------------------------------------
# The filters pass on, refuse (SPAM) and keep (DROP); one of them speaks XFORWARD.

ALICE, BOB = "alice@testbed.example", "bob@testbed.example"
A, B = (ALICE, "198.18.112.5"), (BOB, "198.18.112.6")
SENT = {
    "real-before-queue.log": [(*A, 3), (*A, None), (*A, 5), (*B, 2)],
    "real-behind-queue.log": [(*A, 2), (*A, 1), (*A, 4)],
    "real-behind-queue-xforward.log": [(*A, 2), (*A, 1), (*A, 1)],  # addresses are replaced behind the filter
    "real-dovecot-submission.log": [(ALICE, "127.0.0.1", 2), (ALICE, "127.0.0.1", 1)],
}
DEAD = {
    "real-before-queue.log": {"dead1@dest.example": ALICE, "gone@dest.example": ALICE, "dead2@dest.example": BOB},
    "real-behind-queue.log": {"dead1@dest.example": ALICE},
    "real-behind-queue-xforward.log": {"dead1@dest.example": ALICE},
    "real-dovecot-submission.log": {"dead1@dest.example": ALICE},
}


@pytest.mark.parametrize("name", SENT)
def test_a_real_filters_messages_count_once_and_their_bounces_are_their_accounts(name: str) -> None:
    sent = [(e.account, e.client_ip, e.nrcpt) for e in events(name) if e.kind == "submission"]
    assert sent == SENT[name]
    bounced = [e for e in events(name) if e.kind == "delivery" and e.status == "bounced"]
    dead = {e.recipient: e.account for e in bounced if is_dead_recipient(e.dsn, e.reason)}
    dead.pop("dead3@dest.example", None)  # of mail from outside
    assert dead == DEAD[name]
    assert {e.account for e in bounced if e.recipient == "dead3@dest.example"} <= {None}


def test_what_a_real_filter_refused_is_a_reject_of_the_account() -> None:
    (refused,) = [e for e in events("real-before-queue.log") if e.kind == "reject"]
    assert (refused.account, refused.client_ip, refused.status) == (ALICE, "198.18.112.5", "554")


def test_a_spammer_behind_a_real_filter_is_stopped_at_the_twentieth_message() -> None:
    name = "real-before-queue-120.log.gz"
    sent = [e for e in events(name) if e.kind == "submission"]
    assert len(sent) == 120
    assert {(e.account, e.client_ip, e.nrcpt) for e in sent} == {("alice@example.org", "198.18.112.5", 3)}
    decision = next(d for d in decisions(name) if d.rule == "account_send_rate")
    assert decision.subject == "alice@example.org"
    evidence = decision.evidence
    assert (evidence.metric, evidence.observed, evidence.window) == ("messages", 20, 600)
