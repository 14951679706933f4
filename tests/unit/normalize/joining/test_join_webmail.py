"""A webmail's line and the MTA's line on the same message: counted once, with the browser's address."""

import pytest

from pipeline.formats.reading.lines import LineReader
from pipeline.normalize.enrich import Enricher
from pipeline.normalize.joining.join import Joiner
from pipeline.normalize.tally import Tallier
from schemas.event import Event
from schemas.tally import Tally

REFERENCE = 1_796_083_200.0
QUEUE_ID = "2609D23C20C"
WEB, BROWSER, ACCOUNT = "192.0.2.80", "198.51.100.7", "web01@x.example"
SENT = (
    f"[24-Nov-2026 01:50:45 +0000]: <w1aaaaaa> User {ACCOUNT} [{BROWSER}]; Message <1@x.example> for "
    f"a@y.example, b@y.example; 250: 2.0.0 Ok: queued as {QUEUE_ID}"
)
LOGIN = f", sasl_method=PLAIN, sasl_username={ACCOUNT}"
ACTIVE = f"Nov 24 01:50:44 mx postfix/qmgr[3]: {QUEUE_ID}: from=<{ACCOUNT}>, size=430, nrcpt=2 (queue active)"
BOUNCED = (
    f"Nov 24 01:50:46 mx postfix/smtp[4]: {QUEUE_ID}: to=<b@y.example>, relay=y.example[192.0.2.1]:25, delay=1, "
    "delays=0/0/0/1, dsn=5.1.1, status=bounced (no such user)"
)


def client(sasl: str) -> str:
    return f"Nov 24 01:50:44 mx postfix/smtpd[1]: {QUEUE_ID}: client=web[{WEB}]{sasl}"


def read(lines: list[str]) -> list[Event]:
    events = [e for e in LineReader().read_lines(lines, REFERENCE) if isinstance(e, Event)]
    assert len(events) == len(lines), "every line must be understood"
    return events


def counted(lines: list[str], hosts: tuple[str, ...] = (WEB,), cut: int | None = None) -> list[Tally]:
    """The tallies; with a restart after ``cut`` lines."""
    events, joiner = read(lines), Joiner(frozenset(hosts))
    if cut is not None:
        joiner.join(events[:cut])
        restarted = Joiner(frozenset(hosts))
        restarted.load(joiner.dump())
        restarted.join(events[cut:])
    else:
        joiner.join(events)
    Enricher().enrich((event, "") for event in events)
    return Tallier(lambda address: address == WEB).tally(zip(events, lines, strict=True))


def sums(tallies: list[Tally], kind: str, subject: str) -> tuple[int, int, int]:
    chosen = [t for t in tallies if (t.kind, t.subject) == (kind, subject)]
    return sum(t.messages for t in chosen), sum(t.recipients for t in chosen), sum(t.webmail for t in chosen)


ORDERS = {
    "the MTA first": lambda sasl: [client(sasl), ACTIVE, SENT, BOUNCED],
    "the webmail first": lambda sasl: [SENT, client(sasl), ACTIVE, BOUNCED],
    "in between": lambda sasl: [client(sasl), SENT, ACTIVE, BOUNCED],
}


@pytest.mark.parametrize("sasl", ["", LOGIN])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cut", [None, 1, 2, 3])
def test_a_message_is_counted_once_whichever_line_comes_first(order: str, sasl: str, cut: int | None) -> None:
    tallies = counted(ORDERS[order](sasl), cut=cut)
    assert sums(tallies, "account", ACCOUNT) == (1, 2, 1)
    assert sums(tallies, "ip", BROWSER) == (1, 2, 1)
    assert sums(tallies, "ip", WEB) == (0, 0, 0)
    origins = {t.peer for t in tallies if t.kind == "account" and t.successes}
    assert BROWSER in origins
    failed = [t for t in tallies if t.kind == "account" and t.failed]
    assert [(t.subject, t.peer) for t in failed] == [(ACCOUNT, BROWSER)]


@pytest.mark.parametrize("order", ["the webmail first", "in between"])
def test_a_webmail_host_that_nobody_named_is_known_by_its_log(order: str) -> None:
    tallies = counted(ORDERS[order](""), hosts=())
    assert sums(tallies, "account", ACCOUNT) == (1, 2, 1)
    assert sums(tallies, "ip", BROWSER) == (1, 2, 1)


def test_a_webmail_alone_is_counted() -> None:
    assert sums(counted([SENT]), "account", ACCOUNT) == (1, 2, 1)


def test_a_message_of_the_same_queue_id_at_another_time_is_another_message() -> None:
    later = ACTIVE.replace("01:50:44", "03:50:44")
    tallies = counted([SENT, client(LOGIN).replace("01:50:44", "03:50:44"), later])
    assert sums(tallies, "account", ACCOUNT) == (2, 4, 2)


@pytest.mark.parametrize(("stamp", "messages"), [("01:51:45", 1), ("01:51:46", 2), ("01:49:45", 1), ("01:49:44", 2)])
@pytest.mark.parametrize("mta_first", [True, False])
def test_a_queue_id_is_the_same_message_for_a_minute(stamp: str, messages: int, mta_first: bool) -> None:
    """The webmail's line is of 01:50:45."""
    mta = [line.replace("01:50:44", stamp) for line in (client(LOGIN), ACTIVE)]
    tallies = counted([*mta, SENT] if mta_first else [SENT, *mta])
    assert sums(tallies, "account", ACCOUNT) == (messages, 2 * messages, messages)


def test_a_message_of_another_account_is_another_message() -> None:
    other = client(LOGIN.replace(ACCOUNT, "eve")).replace(WEB, "198.51.100.99")
    tallies = counted([SENT, other, ACTIVE])
    assert sums(tallies, "account", ACCOUNT) == (1, 2, 1)
    assert sums(tallies, "account", "eve") == (1, 2, 0)


def test_memory_is_bounded() -> None:
    joiner = Joiner(frozenset((WEB,)), limit=40)
    for i in range(200):
        joiner.join(read([SENT.replace(QUEUE_ID, f"{i:011X}")]))
    assert joiner.forgotten >= 180
    assert len(joiner.dump()) < 40 * 300
