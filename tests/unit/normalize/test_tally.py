"""Events -> tallies: who is charged with what."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.normalize.tally import MAX_LINE, MAX_NAME, MAX_SAMPLES, Tallier, is_foreign_sender
from pipeline.partition import partition_of
from schemas.event import Event
from schemas.tally import Tally

AT = datetime(2026, 11, 24, 1, 50, 43, tzinfo=UTC)
ALICE, ADDRESS, V6 = "alice@x.example", "198.51.100.7", "2001:db8::26"
OURS = "10.0.0.5"


def event(kind: Any, **given: Any) -> Event:
    address = given.setdefault("client_ip", ADDRESS)
    known = {"account": ALICE, "country": "BR" if address else None, "network": address, "time": AT, "channel": "smtp"}
    fields = {"host": "mx", "program": "qmgr", **known, **given}
    return Event(kind, **fields)


def submission(**given: Any) -> Event:
    return event("submission", **{"nrcpt": 2, "sender": ALICE, **given})


def failure(**given: Any) -> Event:
    return event("auth_failure", **{"program": "auth", "service": "imap", "reason": "password", **given})


def tallied(*events: Event, line: str = "line") -> dict[tuple[str, str], Tally]:
    tallies = Tallier(lambda address: address == OURS).tally((e, line) for e in events)
    found = {(t.kind, t.subject): t for t in tallies}
    assert len(found) == len(tallies)
    return found


def counts(tally: Tally) -> dict[str, int]:
    names = Tally.__struct_fields__[5:14]
    return {name: getattr(tally, name) for name in names if getattr(tally, name)}


def test_a_submission_counts_for_account_network_and_country() -> None:
    found = tallied(submission(), submission(nrcpt=3))
    assert set(found) == {("account", ALICE), ("ip", ADDRESS), ("country", "BR")}
    sent = {"messages": 2, "recipients": 5}
    assert counts(found["account", ALICE]) == sent | {"successes": 2}
    assert counts(found["ip", ADDRESS]) == sent | {"successes": 2}
    assert counts(found["country", "BR"]) == sent
    assert (found["account", ALICE].peer, found["ip", ADDRESS].peer) == (ADDRESS, ALICE)
    assert (found["country", "BR"].peer, found["country", "BR"].country) == ("", "BR")
    assert {t.at for t in found.values()} == {AT.timestamp()}


def test_password_errors_also_count_for_the_whole_system() -> None:
    found = tallied(failure(count=3))
    assert counts(found["system", "*"]) == {"errors": 3}
    assert (found["system", "*"].peer, found["system", "*"].country) == ("", "")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, {"errors": 1}),
        ({"reason": "unknown_user"}, {"errors": 1}),
        ({"reason": "unknown"}, {"errors": 1}),
        ({"program": "smtpd", "service": "submission"}, {"errors_mta": 1}),
        ({"service": "smtp"}, {"errors_sasl": 1}),
        ({"service": "smtps"}, {"errors_sasl": 1}),
        ({"program": "vpopmail", "service": "submission"}, {"errors_sasl": 1}),
        ({"program": "esmtpd-msa", "service": None}, {"errors_mta": 1}),
    ],
)
def test_who_logged_a_password_error_is_told_apart(given: dict[str, str], wanted: dict[str, int]) -> None:
    assert counts(tallied(failure(**given))["account", ALICE]) == wanted


@pytest.mark.parametrize("reason", ["disabled", "policy", "mechanism", "temporary", "aborted", None])
def test_what_is_no_password_error_is_no_guessing(reason: str | None) -> None:
    assert tallied(failure(reason=reason)) == {}


def test_errors_that_were_seen_already_count_nothing() -> None:
    assert tallied(failure(count=0)) == {}


def test_an_event_that_was_told_is_told_when_it_is_read_back() -> None:
    """As topics and stores keep it: ``count`` 0, or kind ``other``."""
    seen, submitted, whole = failure(count=3), submission(), submission()
    seen.told_before(2)
    assert (seen.told, seen.count) == (False, 1)
    seen.told_before(4)
    submitted.told_before()
    whole.told_in_full()
    back = [msgspec.json.decode(msgspec.json.encode(e), type=Event) for e in (seen, submitted, whole)]
    assert [(e.kind, e.count, e.told) for e in back] == [
        ("auth_failure", 0, True), ("submission", 0, True), ("other", 1, False),
    ]  # fmt: skip
    assert tallied(back[0], back[2]) == {}
    tallies = Tallier(lambda address: False).tally([(back[1], "")])
    messages = {kind: sum(t.messages for t in tallies if t.kind == kind) for kind in ("account", "ip", "country")}
    assert messages == {"account": 0, "ip": 1, "country": 1}


def test_logins_and_refused_senders_are_successes() -> None:
    refused = event("reject", program="smtpd", sender="other@y.example")
    found = tallied(event("auth_success"), refused)
    assert counts(found["account", ALICE]) == {"successes": 2}
    assert found["account", ALICE].senders == ("other@y.example",)


@pytest.mark.parametrize(
    "unnamed", [event("reject", account=None), event("connect"), event("other"), event("delivery")]
)
def test_what_says_nothing_of_an_account_counts_nothing(unnamed: Event) -> None:
    assert tallied(unnamed) == {}


@pytest.mark.parametrize(
    ("status", "dsn", "reason", "failed"),
    [
        ("bounced", "5.1.1", None, 1),
        ("bounced", "5.1.10", None, 1),
        ("bounced", "5.7.1", None, 0),
        ("bounced", "5.0.0", "550 No such user here", 1),
        ("bounced", "5.0.0", "552 mailbox full", 0),
        ("deferred", "4.1.1", "user unknown", 0),
        ("sent", "2.0.0", "user unknown", 0),
    ],
)
def test_recipients_that_do_not_exist(status: str, dsn: str, reason: str | None, failed: int) -> None:
    found = tallied(event("delivery", status=status, dsn=dsn, reason=reason))
    assert counts(found["account", ALICE]) == {"failed": 1} if failed else found == {}


def test_a_bounce_of_nobodys_mail_counts_nothing() -> None:
    assert tallied(event("delivery", account=None, status="bounced", dsn="5.1.1")) == {}


def test_webmail_is_told() -> None:
    assert counts(tallied(submission(channel="webmail"))["account", ALICE])["webmail"] == 1


def test_our_own_hosts_are_nobodys_origin() -> None:
    found = tallied(submission(client_ip=OURS))
    assert set(found) == {("account", ALICE)}
    assert found["account", ALICE].peer == ""


def test_an_error_without_an_account_counts_for_its_network() -> None:
    found = tallied(failure(account=None))
    assert set(found) == {("ip", ADDRESS), ("country", "BR"), ("system", "*")}
    assert found["ip", ADDRESS].peer == ""


def test_names_that_no_account_can_have_are_not_remembered() -> None:
    found = tallied(failure(account="x" * (MAX_NAME + 1)))
    assert set(found) == {("ip", ADDRESS), ("country", "BR"), ("system", "*")}
    assert ("account", "x" * MAX_NAME) in tallied(failure(account="x" * MAX_NAME))


def test_seconds_and_networks_are_told_apart_and_countries_combined() -> None:
    later = AT + timedelta(seconds=1)
    events = [submission(), submission(time=later), submission(client_ip=V6, network="2001:db8::/64")]
    tallies = Tallier(lambda _: False).tally((e, "") for e in events)
    assert Counter((t.kind, t.at - AT.timestamp(), t.messages) for t in tallies) == {
        ("account", 0.0, 1): 2, ("account", 1.0, 1): 1, ("ip", 0.0, 1): 2, ("ip", 1.0, 1): 1,
        ("country", 0.0, 2): 1, ("country", 1.0, 1): 1,
    }  # fmt: skip


def test_few_lines_and_queue_ids_are_kept_and_cut() -> None:
    tally = tallied(*[submission(queue_id=f"A{n}") for n in range(10)], line="x" * 1000)["account", ALICE]
    assert tally.samples == ("x" * MAX_LINE,) * MAX_SAMPLES
    assert tally.queue_ids == ("A0", "A1", "A2")


@pytest.mark.parametrize(
    ("sender", "account", "foreign"),
    [
        ("alice@x.example", ALICE, False),
        ("Alice@X.example", ALICE, False),
        ("alice+news@x.example", ALICE, False),
        ("", ALICE, False),
        (None, ALICE, False),
        ("bob@x.example", ALICE, True),
        ("alice@y.example", ALICE, True),
        ("alice", ALICE, True),
        ("anything@x.example", "alice", False),  # accounts without a domain say nothing about addresses
    ],
)
def test_foreign_senders(sender: str | None, account: str, foreign: bool) -> None:
    assert is_foreign_sender(sender, account) == foreign
    found = tallied(submission(sender=sender, account=account))["account", account]
    assert found.senders == ((sender,) if foreign else ())


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_sums_do_not_depend_on_how_events_are_framed(seed: int, cuts: list[int]) -> None:
    rng = random.Random(seed)
    events = [
        rng.choice((submission, failure))(
            account=rng.choice((ALICE, "bob@x.example", None)),
            client_ip=(address := rng.choice((ADDRESS, "192.0.2.9", OURS))),
            network=address,
            time=AT + timedelta(seconds=rng.randint(0, 3)),
        )
        for _ in range(60)
    ]

    def sums(frames: list[list[Event]]) -> Counter[tuple[str, str, str, str]]:
        total: Counter[tuple[str, str, str, str]] = Counter()
        tallier = Tallier(lambda address: address == OURS)
        for frame in frames:
            for tally in tallier.tally((e, "") for e in frame):
                for name, n in counts(tally).items():
                    total[tally.kind, tally.subject, tally.peer, name] += n
        return total

    edges = [0, *sorted(cuts), 60]
    assert sums([events[a:b] for a, b in pairwise(edges)]) == sums([events])


def test_partitions_are_given_by_the_subject_alone() -> None:
    tallies = [Tally("account", f"user{n}@x.example", "", "", 0.0) for n in range(1000)]
    spread = Counter(partition_of(tally, 4) for tally in tallies)
    assert min(spread.values()) > 200
    assert all(partition_of(t, 4) == partition_of(Tally("ip", t.subject, "x", "BR", 9.0), 4) for t in tallies)
