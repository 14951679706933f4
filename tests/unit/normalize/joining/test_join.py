"""Lines of one message, joined by queue id; lines of one session, by session id. Real lines, read by the formats."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.reading.lines import LineReader
from pipeline.normalize.attempts.attempts import Attempts
from pipeline.normalize.joining.join import Joiner
from schemas.event import Event

REFERENCE = 1_796_083_200.0
SHORT, LONG = "A0DED23C18C", "4jYQJg4KFnzJB9r"
LOGIN = ", sasl_method=PLAIN, sasl_username={}"


def client(qid: str, user: str = "", ip: str = "198.51.100.7", service: str = "submission", host: str = "mx") -> str:
    sasl = LOGIN.format(user) if user else ""
    return f"Nov 24 01:50:43 {host} postfix/{service}/smtpd[1]: {qid}: client=unknown[{ip}]{sasl}"


def cleanup(qid: str, host: str = "mx") -> str:
    return f"Nov 24 01:50:43 {host} postfix/cleanup[2]: {qid}: message-id=<1@x.example>"


def active(qid: str, sender: str = "alice@x.example", nrcpt: int = 2, host: str = "mx") -> str:
    return f"Nov 24 01:50:44 {host} postfix/qmgr[3]: {qid}: from=<{sender}>, size=430, nrcpt={nrcpt} (queue active)"


def delivered(qid: str, status: str = "sent", dsn: str = "2.0.0", host: str = "mx") -> str:
    return (
        f"Nov 24 01:50:45 {host} postfix/smtp[4]: {qid}: to=<b@y.example>, relay=y.example[192.0.2.1]:25, delay=1, "
        f"delays=0/0/0/1, dsn={dsn}, status={status} (what the next host said)"
    )


def removed(qid: str, host: str = "mx") -> str:
    return f"Nov 24 01:50:46 {host} postfix/qmgr[3]: {qid}: removed"


def joined(lines: list[str], joiner: Joiner | None = None) -> list[Event]:
    events = [e for e in LineReader().read_lines(lines, REFERENCE) if isinstance(e, Event)]
    assert len(events) == len(lines), "every line must be understood"
    (joiner or Joiner()).join(events)
    return events


def submissions(events: list[Event]) -> list[tuple[str | None, str | None, int | None]]:
    return [(e.account, e.client_ip, e.nrcpt) for e in events if e.kind == "submission"]


ALICE = ("alice@x.example", "198.51.100.7", 2)


@pytest.mark.parametrize("qid", [SHORT, LONG])
def test_a_message_is_counted_when_qmgr_has_it(qid: str) -> None:
    events = joined([client(qid, "Alice@x.example"), cleanup(qid), active(qid), delivered(qid), removed(qid)])
    assert submissions(events) == [ALICE]
    assert [e.kind for e in events] == ["connect", "other", "submission", "delivery", "other"]
    assert (events[2].service, events[2].method, events[2].sender) == ("submission", "PLAIN", "alice@x.example")


def test_the_outcome_of_a_delivery_has_the_account() -> None:
    events = joined([client(SHORT, "alice@x.example"), active(SHORT), delivered(SHORT, "bounced", "5.1.1")])
    last = events[-1]
    assert (last.account, last.client_ip, last.sender, last.status) == (
        "alice@x.example", "198.51.100.7", "alice@x.example", "bounced",
    )  # fmt: skip


def test_a_message_refused_at_data_is_not_counted() -> None:
    refused = (
        f"Nov 24 01:50:44 mx postfix/submission/smtpd[1]: {SHORT}: reject: END-OF-MESSAGE from unknown[198.51.100.7]: "
        "554 5.7.1 spam; from=<alice@x.example> to=<b@y.example> proto=ESMTP helo=<x>"
    )
    events = joined([client(SHORT, "alice@x.example"), cleanup(SHORT), refused])
    assert submissions(events) == []
    assert (events[-1].kind, events[-1].account) == ("reject", "alice@x.example")


def test_a_message_that_is_tried_again_after_a_deferral_is_counted_once() -> None:
    lines = [client(SHORT, "alice@x.example"), active(SHORT), delivered(SHORT, "deferred", "4.0.0")]
    assert submissions(joined([*lines, active(SHORT), delivered(SHORT), removed(SHORT)])) == [ALICE]


@pytest.mark.parametrize(
    "again",
    [
        [client(SHORT, ip="192.0.2.9", service="smtp")],
        ["Nov 24 01:50:47 mx postfix/pickup[5]: A0DED23C18C: uid=0 from=<root>"],
    ],
)
@pytest.mark.parametrize("end", [[], [removed(SHORT)]])
def test_a_queue_id_that_is_used_again_belongs_to_nobody_before_it_is_said(again: list[str], end: list[str]) -> None:
    """Also where the end of the first message is missing, as when it was refused at DATA."""
    first = [client(SHORT, "alice@x.example"), *([active(SHORT), *end] if end else [])]
    events = joined([*first, *again, active(SHORT, "root@x.example", 1), delivered(SHORT, "bounced", "5.1.1")])
    assert submissions(events[len(first) :]) == []
    assert events[-1].account is None


def test_a_queue_id_that_is_used_again_by_another_account() -> None:
    events = joined([client(SHORT, "alice@x.example"), client(SHORT, "bob@x.example", "192.0.2.9"), active(SHORT)])
    assert submissions(events) == [("bob@x.example", "192.0.2.9", 2)]


def test_hosts_have_queue_ids_of_their_own() -> None:
    lines = [client(SHORT, "alice@x.example"), client(SHORT, "bob@x.example", "192.0.2.9", host="mx2")]
    events = joined([*lines, active(SHORT), active(SHORT, host="mx2")])
    assert submissions(events) == [ALICE, ("bob@x.example", "192.0.2.9", 2)]


@pytest.mark.parametrize(
    "lines",
    [
        [active(LONG, "list-bounces@x.example", 500)],  # a list or a forwarding: cleanup alone made it
        [client(LONG, ip="127.0.0.1", service="10025"), cleanup(LONG), active(LONG)],  # a content filter's re-injection
        [client(LONG, ip="192.0.2.9", service="smtp"), active(LONG)],  # inbound
    ],
)
def test_mail_that_others_bring_in_is_charged_to_nobody(lines: list[str]) -> None:
    first = [client(SHORT, "alice@x.example"), active(SHORT), delivered(SHORT), removed(SHORT)]
    assert submissions(joined(first + lines)) == [ALICE]


def test_the_null_sender_of_an_authenticated_client_is_the_accounts() -> None:
    assert submissions(joined([client(SHORT, "alice@x.example"), active(SHORT, "")])) == [ALICE]


@pytest.mark.parametrize("line", [client(SHORT, ip="10.0.0.5", service="smtp"), client(SHORT, service="webmail")])
def test_webmail_without_authentication_is_its_senders(line: str) -> None:
    (event,) = [e for e in joined([line, active(SHORT, "Web@x.example")], webmail()) if e.kind == "submission"]
    assert (event.account, event.service) == ("web@x.example", "webmail")
    assert submissions(joined([line, active(SHORT, "")], webmail())) == []


def test_webmail_with_authentication_is_webmail_too() -> None:
    events = joined([client(SHORT, "alice@x.example", ip="10.0.0.5"), active(SHORT, "other@x.example")], webmail())
    assert [(e.account, e.service) for e in events if e.kind == "submission"] == [("alice@x.example", "webmail")]


def webmail() -> Joiner:
    return Joiner(frozenset(("10.0.0.5",)))


# --- order, memory, restart -----------------------------------------------------------------------------------------


def messages(number: int) -> list[list[str]]:
    made = []
    for n in range(number):
        qid, user = f"{n:010X}", f"user{n % 5}@x.example"
        lines = [client(qid, user if n % 4 else "", f"198.51.100.{n}"), cleanup(qid), active(qid, user, n + 1)]
        lines += [delivered(qid, "deferred", "4.0.0"), active(qid, user, n + 1)] if n % 3 == 0 else []
        made.append([*lines, delivered(qid), removed(qid)])
    return made


def interleaved(rng: random.Random, parts: list[list[str]]) -> list[str]:
    rest = [list(part) for part in parts]
    lines = []
    while any(rest):
        lines.append(rng.choice([part for part in rest if part]).pop(0))
    return lines


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), cut=st.integers(0, 60))
def test_any_order_and_a_restart_anywhere_give_the_same_submissions(seed: int, cut: int) -> None:
    parts = messages(12)
    lines = interleaved(random.Random(seed), parts)
    before, after = Joiner(), Joiner()
    events = joined(lines[:cut], before)
    after.load(before.dump())
    events += joined(lines[cut:], after)
    wanted = joined([line for part in parts for line in part])
    for kind in ("submission", "delivery"):
        assert sorted((str(e.account), str(e.client_ip), str(e.nrcpt)) for e in events if e.kind == kind) == sorted(
            (str(e.account), str(e.client_ip), str(e.nrcpt)) for e in wanted if e.kind == kind
        )
    assert len(submissions(events)) == 9


def test_memory_is_bounded_and_what_is_forgotten_is_counted() -> None:
    joiner = Joiner(limit=100)
    for n in range(1000):
        joined([client(f"{n:010X}", "alice@x.example")], joiner)
    assert joiner.forgotten >= 900
    assert len(joiner.dump()) < 150 * 100
    assert submissions(joined([active(f"{999:010X}"), active(f"{0:010X}")], joiner)) == [ALICE]


def test_a_message_that_is_still_spoken_of_is_not_forgotten() -> None:
    joiner = Joiner(limit=100)
    joined([client(LONG, "alice@x.example"), active(LONG)], joiner)
    for n in range(1000):
        joined([client(f"{n:010X}", "alice@x.example")], joiner)
        if n % 20 == 0:
            assert joined([delivered(LONG, "deferred", "4.0.0")], joiner)[0].account == "alice@x.example"
    assert submissions(joined([active(LONG)], joiner)) == []


SAVED = bytes.fromhex(
    "949290939292a26d78ab413044454432334331384396af616c69636540782e6578616d706c65ac3139382e35312e3130302e37aa7375626d6973"
    "73696f6ea5504c41494eaf616c69636540782e6578616d706c65c39292a26d78ab413044454432334331384496af616c69636540782e6578616d"
    "706c65ac3139382e35312e3130302e37aa7375626d697373696f6ea5504c41494ec0c29292a26d78a33d313796a56361726f6cac3139382e3531"
    "2e3130302e37c0a5504c41494ec0c29290919292a0a36f6e65019290919292a0ab323630394432334332304394ad77656240782e6578616d706c"
    "65ac3139382e35312e3130302e37cb41dac13b5d400000c092929292a0a6616363657373cb41dac13daf0000009292a26d78a661636365737"
    "3cb41dac14072000000919292a26d78a5696d617064cb41dac1407a400000"
)


def test_a_state_saved_by_an_earlier_version_is_read() -> None:
    """It holds two messages, one of them accepted, a login of a process, a failure, a webmail's message, front ends."""
    joiner = Joiner()
    before = joiner.load(SAVED)
    again = Joiner()
    again.load(joiner.dump())
    assert again.dump() == joiner.dump()
    assert submissions(joined([active(SHORT), active("A0DED23C18D")], joiner)) == [ALICE]
    attempts = Attempts()
    attempts.take_over(before.sessions, *before.echoes)
    (event,) = joined([GAVE_UP], joiner)
    attempts.settle([event], [(event, GAVE_UP)])
    assert event.count == 2


GAVE_UP = (
    "Nov 24 02:30:30 imap-login: Info: Disconnected (auth failed, 3 attempts in 9 secs): user=<bob@x.example>, "
    "method=PLAIN, rip=198.51.100.9, lip=192.0.2.1, session=<one>"
)
