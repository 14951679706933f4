"""Messages that go through a filter, before the queue or behind it: one submission each, and their bounces."""

import random
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.reading.lines import LineReader
from pipeline.normalize.joining.join import Joiner
from schemas.event import Event

REFERENCE = 1_796_083_200.0
VICTIM, IP = "victim@x.example", "198.51.100.7"
AT = "Nov 24 01:50:43 mx "


def login(user: str, ip: str) -> str:
    return f"client=unknown[{ip}]" + (f", sasl_method=PLAIN, sasl_username={user}" if user else "")


def noqueue(pid: int, user: str = VICTIM, ip: str = IP) -> str:
    return f"{AT}postfix/submission/smtpd[{pid}]: NOQUEUE: {login(user, ip)}"


def client(qid: str, user: str = VICTIM, ip: str = IP, more: str = "", program: str = "submission/smtpd") -> str:
    return f"{AT}postfix/{program}[3]: {qid}: {login(user, ip)}{more}"


def inner(qid: str, more: str = f", orig_client=unknown[{IP}]", ip: str = "127.0.0.1") -> str:
    return client(qid, "", ip, more, "smtpd")


def accept(pid: int | str, qid: str, user: str = VICTIM, told: bool = False) -> str:
    process = f"[{pid}]" if pid else ""
    answer = f"250 2.0.0 Ok: queued as {qid}" if qid else "250 2.7.0 Ok, discarded, id=1-1"
    more = f" sasl_username=<{user}>" if told else ""
    return (
        f"{AT}postfix/submission/smtpd{process}: proxy-accept: END-OF-MESSAGE: {answer}; from=<{user}> "
        f"to=<b@y.example> proto=ESMTP helo=<pc>{more}"
    )


def refuse(pid: int) -> str:
    return (
        f"{AT}postfix/submission/smtpd[{pid}]: proxy-reject: END-OF-MESSAGE: 554 5.7.0 Reject, spam; from=<{VICTIM}> "
        "to=<b@y.example> proto=ESMTP helo=<pc>"
    )


def active(qid: str, sender: str = VICTIM, nrcpt: int = 5) -> str:
    return f"{AT}postfix/qmgr[57]: {qid}: from=<{sender}>, size=2000, nrcpt={nrcpt} (queue active)"


def delivered(qid: str, status: str = "sent", said: str = "250 ok", relay: str = "y.example[192.0.2.1]:25") -> str:
    dsn = "5.1.1" if status == "bounced" else "2.0.0"
    return (
        f"{AT}postfix/smtp[58]: {qid}: to=<b@y.example>, relay={relay}, delay=1, delays=0/0/0/1, dsn={dsn}, "
        f"status={status} ({said})"
    )


def handed_over(qid: str, behind: str, relay: str = "127.0.0.1[127.0.0.1]:10024") -> str:
    return delivered(
        qid, said=f"250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as {behind}", relay=relay
    )


def amavis(qid: str, behind: str) -> str:
    return (
        f"{AT}amavis[812]: (00812-01) Passed CLEAN {{RelayedOpenRelay}}, [{IP}]:5 [{IP}] <{VICTIM}> -> <b@y.example>, "
        f"Queue-ID: {qid}, Message-ID: <a@b>, mail_id: Zk3xYw1AbCdE, Hits: -1.2, size: 12, queued_as: {behind}, 5 ms"
    )


def removed(qid: str) -> str:
    return f"{AT}postfix/qmgr[57]: {qid}: removed"


def joined(lines: list[str], joiner: Joiner | None = None) -> list[Event]:
    events = [e for e in LineReader().read_lines(lines, REFERENCE) if isinstance(e, Event)]
    assert len(events) == len(lines), "every line must be understood"
    (joiner or Joiner()).join(events)
    return events


Sent = tuple[str | None, str | None, int | None]


def submissions(events: list[Event]) -> list[Sent]:
    return [(e.account, e.client_ip, e.nrcpt) for e in events if e.kind == "submission"]


def bounces(events: list[Event]) -> list[str | None]:
    return [e.account for e in events if e.kind == "delivery" and e.status == "bounced"]


def scattered() -> Joiner:
    joiner = Joiner()
    joiner.scattered = True
    return joiner


ONE = (VICTIM, IP, 5)

# --- before the queue -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("more", ["", f", orig_client=unknown[{IP}]", f", orig_queue_id=NOQUEUE, orig_client=x[{IP}]"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.9", "192.0.2.9"])
@pytest.mark.parametrize("late", [True, False])
def test_a_message_before_the_queue_is_its_clients(told: bool, more: str, address: str, late: bool) -> None:
    ends = [active("A0DED23C18C"), accept(44, "A0DED23C18C", told=told)]
    lines = [noqueue(44), inner("A0DED23C18C", more, address), *(ends if late else ends[::-1])]
    events = joined([*lines, delivered("A0DED23C18C", "bounced"), removed("A0DED23C18C")])
    ((account, ip, nrcpt),) = submissions(events)
    assert (account, ip) == (VICTIM, IP)
    within = (
        address != "192.0.2.9"
    )  # of a filter elsewhere nothing says that it is one: its messages count, with one recipient
    assert nrcpt == (5 if within or more.startswith(", orig_queue") else None)
    assert bounces(events) == ([VICTIM] if within or more.startswith(", orig_queue") else [None])
    assert [e.service for e in events if e.kind == "submission"] == ["submission"]


def test_noqueue_is_no_queue_id() -> None:
    events = joined([noqueue(44), noqueue(45, "bob@x.example"), refuse(44)])
    assert {e.queue_id for e in events} == {None}


def test_processes_are_told_apart() -> None:
    first, second = "A0DED23C18C", "A0DED23C18D"
    lines = [noqueue(1), noqueue(2, "bob@x.example", "192.0.2.9"), inner(first), inner(second)]
    lines += [accept(2, second, "bob@x.example"), accept(1, first), active(second), active(first)]
    assert sorted(map(str, submissions(joined(lines)))) == sorted(map(str, [("bob@x.example", "192.0.2.9", 5), ONE]))


def test_a_message_that_the_filter_refused_is_a_reject_of_its_account() -> None:
    events = joined([noqueue(44), refuse(44)])
    last = events[-1]
    assert (last.kind, last.account, last.client_ip, last.status) == ("reject", VICTIM, IP, "554")
    assert submissions(events) == []


def test_a_message_that_the_filter_keeps_is_counted() -> None:
    assert submissions(joined([noqueue(44), accept(44, "")])) == [(VICTIM, IP, None)]


def test_mail_from_outside_that_goes_through_the_filter_is_charged_to_nobody() -> None:
    lines = [noqueue(44, ""), inner("A0DED23C18C"), active("A0DED23C18C"), accept(44, "A0DED23C18C")]
    lines += [noqueue(44, ""), accept(44, ""), refuse(44), delivered("A0DED23C18C", "bounced")]
    events = joined(lines)
    assert submissions(events) == []
    assert {e.account for e in events} == {None}


def test_a_process_that_serves_somebody_else_by_now_does_not_charge_the_one_before() -> None:
    """The line of the second message's client was lost on the way."""
    lines = [noqueue(44), inner("A0DED23C18C"), accept(44, "A0DED23C18C"), active("A0DED23C18C")]
    lines += [inner("A0DED23C18D"), accept(44, "A0DED23C18D"), active("A0DED23C18D")]
    assert submissions(joined(lines)) == [ONE]
    assert submissions(joined([noqueue(44), accept(44, "A0DED23C18C", "bob@x.example", True)])) == [
        ("bob@x.example", None, None)
    ]


def test_without_a_process_the_line_itself_may_tell_the_account() -> None:
    lines = [noqueue(44).replace("[44]", ""), inner("A0DED23C18C"), accept("", "A0DED23C18C", told=True)]
    assert submissions(joined([*lines, active("A0DED23C18C")])) == [(VICTIM, None, 5)]


def test_a_message_that_is_tried_again_and_a_line_that_comes_twice_count_once() -> None:
    lines = [noqueue(44), inner("A0DED23C18C"), active("A0DED23C18C"), accept(44, "A0DED23C18C", told=True)]
    lines += [accept(44, "A0DED23C18C", told=True), active("A0DED23C18C"), delivered("A0DED23C18C", "bounced")]
    events = joined(lines)
    assert submissions(events) == [ONE]
    assert bounces(events) == [VICTIM]


# --- behind the queue -----------------------------------------------------------------------------------------------

FRONT, BACK = "4F0000000A", "5F0000000A"
BEHIND = {
    "orig_queue_id": [
        inner(BACK, f", orig_queue_id={FRONT}, orig_client=unknown[{IP}]"), active(BACK), handed_over(FRONT, BACK)
    ],
    "answer": [inner(BACK, ""), active(BACK), handed_over(FRONT, BACK)],
    "answer, elsewhere": [inner(BACK, "", "10.0.0.9"), active(BACK), handed_over(FRONT, BACK, "f[10.0.0.9]:10025")],
    "answer over LMTP": [
        inner(BACK, ""), active(BACK), handed_over(FRONT, BACK, "f[::1]:10024").replace("smtp[58]", "lmtp[58]")
    ],
    "amavis": [inner(BACK, ""), active(BACK), amavis(FRONT, BACK), delivered(FRONT)],
}  # fmt: skip


@pytest.mark.parametrize("way", BEHIND)
def test_what_becomes_of_a_message_behind_a_filter_is_its_accounts(way: str) -> None:
    front = [client(FRONT), active(FRONT)]
    events = joined([*front, *BEHIND[way], removed(FRONT), delivered(BACK, "bounced"), active(BACK), removed(BACK)])
    assert submissions(events) == [ONE]
    assert bounces(events) == [VICTIM]
    assert [(e.client_ip, e.service) for e in events if e.status == "bounced"] == [(IP, "submission")]


@pytest.mark.parametrize("way", BEHIND)
def test_inbound_mail_behind_a_filter_is_charged_to_nobody(way: str) -> None:
    front = [client(FRONT, "", "192.0.2.9", program="smtpd"), active(FRONT, "a@y.example")]
    events = joined([*front, *BEHIND[way], removed(FRONT), delivered(BACK, "bounced"), removed(BACK)])
    assert submissions(events) == []
    assert bounces(events) == [None]


def test_another_servers_answer_charges_nobody_with_mail_from_outside() -> None:
    """Whoever gets mail of the account answers with the queue id of mail that he sent, or of another account's."""
    others = [client(BACK, "", "192.0.2.9", program="smtpd"), active(BACK, "a@y.example")]
    of_bob = [client("6F0000000A", "bob@x.example"), active("6F0000000A", "bob@x.example")]
    answers = [
        handed_over(FRONT, qid, relay)
        for qid in (BACK, "6F0000000A")
        for relay in ("e.example[192.0.2.9]:25", "e[192.0.2.9]:587")
    ]
    lines = [client(FRONT), active(FRONT), *others, *of_bob, *answers]
    events = joined([*lines, delivered(BACK, "bounced"), delivered("6F0000000A", "bounced")])
    assert bounces(events) == [None, "bob@x.example"]


def test_a_queue_id_behind_the_filter_that_is_used_again_is_nobodys() -> None:
    lines = [client(FRONT), active(FRONT), *BEHIND["answer"], removed(BACK), inner(BACK, ""), active(BACK)]
    assert bounces(joined([*lines, delivered(BACK, "bounced")])) == [None]


# --- against the obvious --------------------------------------------------------------------------------------------


class Message(NamedTuple):
    lines: list[str]
    submitted: Sent | None
    bounced: Counter[str | None]


WAYS = ("plain", "before", "before, late", "refused", "inbound", "inbound before", *BEHIND, "both")


def message(number: int, way: str, user: str, ip: str, pid: int, nrcpt: int, bounced: int) -> Message:
    """The lines of one message in an order that they may have, and what must come of them."""
    front, back = f"4F{number:08X}", f"5F{number:08X}"
    last, sent, lines = front, (user, ip, nrcpt), []
    start = [noqueue(pid, user, ip), inner(front)]
    if way == "plain" or way in BEHIND:
        lines = [client(front, user, ip), active(front, user, nrcpt)]
    elif way in ("before", "both"):
        lines = [*start, accept(pid, front, user), active(front, user, nrcpt)]
    elif way == "before, late":
        lines = [*start, active(front, user, nrcpt), accept(pid, front, user)]
    elif way == "refused":
        return Message([noqueue(pid, user, ip), refuse(pid)], None, Counter())
    elif way == "inbound":
        lines = [client(front, "", ip, program="smtpd"), active(front, "a@y.example", nrcpt)]
    else:
        lines = [
            noqueue(pid, "", ip),
            inner(front),
            active(front, "a@y.example", nrcpt),
            accept(pid, front, "a@y.example"),
        ]
    if way in BEHIND or way == "both":
        last = back
        lines += [line.replace(FRONT, front).replace(BACK, back) for line in BEHIND["answer" if way == "both" else way]]
    lines += [delivered(last, "bounced")] * bounced + [delivered(last), removed(last)]
    nobody = way.startswith("inbound")
    return Message(lines, None if nobody else sent, Counter({None if nobody else user: bounced}))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32), ways=st.lists(st.sampled_from(WAYS), min_size=1, max_size=12), cut=st.integers(0, 90)
)
def test_each_message_counts_once_and_its_bounces_are_its_accounts(seed: int, ways: list[str], cut: int) -> None:
    """Whatever way the messages go, in whatever order their lines mix, and wherever the join is restarted. A process
    serves one client at a time."""
    rng = random.Random(seed)
    made = [
        message(n, way, f"u{n % 3}@x.example", f"198.51.100.{n % 4}", 100 + n, rng.randint(1, 9), rng.randint(0, 3))
        for n, way in enumerate(ways)
    ]
    rest, lines = [list(m.lines) for m in made], []
    while any(rest):
        lines.append(rng.choice([part for part in rest if part]).pop(0))
    before, after = Joiner(), Joiner()
    events = joined(lines[:cut], before)
    after.load(before.dump())
    events += joined(lines[cut:], after)
    assert Counter(submissions(events)) == Counter(m.submitted for m in made if m.submitted)
    assert Counter(bounces(events)) == sum((m.bounced for m in made), Counter())


@settings(max_examples=60, deadline=None)
@given(
    st.permutations([noqueue(44), inner("A0DED23C18C"), active("A0DED23C18C"), accept(44, "A0DED23C18C", told=True)])
)
def test_lines_that_overtake_each_other_give_the_same_message(lines: list[str]) -> None:
    events = joined(lines, scattered())
    ((account, _, nrcpt),) = submissions(events)
    assert (account, nrcpt) == (VICTIM, 5)


@settings(max_examples=60, deadline=None)
@given(st.permutations([client(FRONT), active(FRONT), *BEHIND["orig_queue_id"]]))
def test_lines_that_overtake_each_other_count_a_message_behind_a_filter_once(lines: list[str]) -> None:
    assert submissions(joined(lines, scattered())) == [ONE]


def test_memory_is_bounded() -> None:
    joiner = Joiner(limit=100)
    for n in range(1000):
        joined([noqueue(n), inner(f"{n:010X}"), accept(n, f"{n:010X}")], joiner)
    assert joiner.forgotten >= 900
    assert len(joiner.dump()) < 150 * 100


# --- Dovecot's submission service -----------------------------------------------------------------------------------

SESSION = "nYsfa0Rh3sl/AAAB"
CAME = (
    f"{AT}dovecot: submission-login: Login: user=<{VICTIM}>, method=PLAIN, rip={IP}, lip=192.0.2.1, session=<{SESSION}>"
)
LEFT = f"{AT}dovecot: submission({VICTIM})<3><{SESSION}>: Disconnected: Logged out (state=READY) in=234 out=217"


def relayed(qid: str, nrcpt: int = 2) -> str:
    return (
        f"{AT}dovecot: submission({VICTIM})<3><{SESSION}>: Successfully relayed message: from=<{VICTIM}>, size=17, "
        f"id=LGlJO3etCWtHeAAAg+zDdQ, nrcpt={nrcpt}, reply=`250 2.0.0 Ok: 189 bytes queued as {qid}'"
    )


@pytest.mark.parametrize("late", [True, False])
def test_a_message_of_dovecots_submission_service_is_its_users(late: bool) -> None:
    """As many recipients as the client named: aliases made five of two."""
    ends = [active(FRONT), relayed(FRONT)]
    lines = [CAME, inner(FRONT, ""), *(ends if late else ends[::-1]), delivered(FRONT, "bounced"), active(FRONT)]
    again = [line.replace(FRONT, BACK) for line in lines[1:]]
    events = joined([*lines, *again, LEFT])
    assert submissions(events) == [(VICTIM, IP, 2)] * 2
    assert bounces(events) == [VICTIM] * 2
    assert {e.service for e in events if e.kind == "submission"} == {"submission"}


@pytest.mark.parametrize("late", [True, False])
def test_if_the_mta_is_told_who_the_client_is_the_message_counts_with_its_lines(late: bool) -> None:
    ends = [active(FRONT), relayed(FRONT)]
    events = joined([CAME, client(FRONT), *(ends if late else ends[::-1]), active(FRONT), LEFT])
    assert submissions(events) == [ONE]


def test_where_the_mtas_lines_are_elsewhere_nothing_counts_twice() -> None:
    assert submissions(joined([CAME, relayed(FRONT), LEFT])) == []
