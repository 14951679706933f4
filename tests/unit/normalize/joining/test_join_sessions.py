"""Sendmail, OpenSMTPD and Haraka: account, address and message stand in different lines of one session."""

import pytest

from pipeline.formats.reading.lines import LineReader
from pipeline.normalize.enrich import Enricher
from pipeline.normalize.joining.join import Joiner
from pipeline.normalize.tally import Tallier
from schemas.event import Event

REFERENCE = 1_796_083_200.0


def joined(lines: list[str], joiner: Joiner | None = None) -> list[Event]:
    events = [event for event in LineReader().read_lines(lines, REFERENCE) if isinstance(event, Event)]
    assert len(events) == len(lines), "every line must be understood"
    (joiner or Joiner()).join(events)
    return events


def login(pid: int, user: str = "alice", ip: str = "198.51.100.7") -> str:
    return f"Nov 24 01:49:08 mx sm-mta[{pid}]: AUTH=server, relay=[{ip}], authid={user}, mech=PLAIN, bits=0"


def arrival(pid: int, ip: str = "198.51.100.7", proto: str = "ESMTPA", nrcpts: int = 2) -> str:
    return (
        f"Nov 24 01:49:08 mx sm-mta[{pid}]: 6AO1n8SA{pid:06}: from=<alice@x.example>, size=37, class=0, "
        f"nrcpts={nrcpts}, msgid=<a@b>, proto={proto}, daemon=MSA, relay=[{ip}]"
    )


def test_sendmail_names_the_account_of_the_process() -> None:
    events = joined([login(17), login(18, "bob"), arrival(17), arrival(18)])
    found = [(e.account, e.client_ip, e.nrcpt, e.method) for e in events if e.kind == "submission"]
    assert found == [("alice", "198.51.100.7", 2, "PLAIN"), ("bob", "198.51.100.7", 2, "PLAIN")]


@pytest.mark.parametrize("line", [arrival(18), arrival(17, ip="198.51.100.8"), arrival(17, proto="ESMTP")])
def test_sendmail_charges_nobody_for_another_process_address_or_without_login(line: str) -> None:
    assert joined([login(17), line])[1].account is None


HEADERS = (
    "<22>1 2026-11-24T01:49:08Z mx sm-mta {pid} - - {text}",
    "2026-11-24T01:49:08.123456+00:00 mx sm-mta[{pid}]: {text}",
    '{{"@timestamp": "2026-11-24T01:49:08Z", "host": "mx", "program": "sm-mta", "pid": {pid}, "message": "{text}"}}',
    '{{"timereported": "2026-11-24T01:49:08Z", "hostname": "mx", "syslogtag": "sm-mta[{pid}]:", "msg": "{text}"}}',
)


@pytest.mark.parametrize("header", HEADERS)
def test_the_process_is_known_from_every_header(header: str) -> None:
    texts = [line.partition("]: ")[2] for line in (login(17), login(18, "bob"), arrival(17), arrival(18))]
    events = joined([header.format(pid=pid, text=text) for pid, text in zip((17, 18, 17, 18), texts, strict=True)])
    assert [e.account for e in events] == ["alice", "bob", "alice", "bob"]


def test_a_process_that_begins_with_another_login_is_another_account() -> None:
    events = joined([login(17), arrival(17), login(17, "bob", "198.51.100.9"), arrival(17, "198.51.100.9")])
    assert [e.account for e in events] == ["alice", "alice", "bob", "bob"]


def test_sendmail_tells_the_deliveries_whose_they_are() -> None:
    delivery = (
        "Nov 24 01:49:08 mx sm-mta[19]: 6AO1n8SA000017: to=<y@z.example>, delay=00:00:00, xdelay=00:00:00, mailer=smtp,"
        " pri=60037, relay=z.example. [192.0.2.1], dsn=5.1.1, stat=User unknown"
    )
    assert joined([login(17), arrival(17), delivery])[2].account == "alice"


OPENSMTPD = [
    "e060fa43c8861d18 smtp connected address=198.51.100.7 host=pc.example.net",
    "e060fa43c8861d18 smtp authentication user=alice result=permfail",
    "e060fa43c8861d18 smtp authentication user=alice result=ok",
    "e060fa43c8861d18 smtp message msgid=a1b2c3d4 size=412 nrcpt=2 proto=ESMTP",
    "e060fa43c8861d18 smtp envelope evpid=a1b2c3d4e5f60718 from=<alice@x.example> to=<bob@y.example>",
    "e060fa43c8861d18 smtp disconnected reason=quit",
    'e060fa44d94b1a78 mta delivery evpid=a1b2c3d4e5f60718 from=<alice@x.example> to=<bob@y.example> rcpt=<-> source="-"'
    ' relay="192.0.2.9 (mx)" delay=1s result="PermFail" stat="550 5.1.1 no"',
]


def test_opensmtpd_tells_account_and_address_of_a_session() -> None:
    events = joined([f"Nov 24 03:24:27 mx smtpd[8]: {text}" for text in OPENSMTPD])
    assert [e.kind for e in events] == [
        "connect", "auth_failure", "auth_success", "submission", "other", "connect", "delivery",
    ]  # fmt: skip
    assert {e.client_ip for e in events} == {"198.51.100.7", None}
    assert events[1].client_ip == "198.51.100.7"
    assert [(e.account, e.client_ip, e.nrcpt) for e in events[3:4]] == [("alice", "198.51.100.7", 2)]
    assert (events[6].account, events[6].client_ip) == ("alice", "198.51.100.7")


def test_opensmtpd_charges_nobody_without_login() -> None:
    lines = [OPENSMTPD[0], *OPENSMTPD[3:]]
    assert {e.account for e in joined([f"Nov 24 03:24:27 mx smtpd[8]: {text}" for text in lines])} == {None}


def test_the_end_of_a_session_is_the_end_of_its_account() -> None:
    lines = [OPENSMTPD[0], OPENSMTPD[2], OPENSMTPD[5], OPENSMTPD[3]]
    assert joined([f"Nov 24 03:24:27 mx smtpd[8]: {text}" for text in lines])[3].account is None


UUID = "7FF5DF13-8390-4905-9DD5-698A53345B98"


def test_haraka_tells_the_account_where_a_plugin_names_it() -> None:
    stamp = "2026-11-24T03:21:27.156Z"
    events = joined(
        [
            f"{stamp} [NOTICE] [{UUID}] [core] connect ip=198.51.100.7 port=5 local_ip=x local_port=587",
            f'{stamp} [INFO] [{UUID}] [auth/auth_vpopmaild] AUTH user="alice" success=true',
            f"{stamp} [NOTICE] [{UUID}.1] [core] message mid=<a@b> size=44 rcpts=2/0/0 delay=0 code=CONT"
            ' code=CONT msg=""',
        ]
    )
    assert (events[2].kind, events[2].account, events[2].client_ip) == ("submission", "alice", "198.51.100.7")


def test_webmail_of_an_mta_that_says_all_in_one_line() -> None:
    line = "2026-11-24 03:14:25 1xVgzB-0007YR-1X <= Alice@x.example H=(web) [192.0.2.80] P=esmtp S=184"
    assert joined([line])[0].kind == "other"
    event = joined([line], Joiner(frozenset(("192.0.2.80",))))[0]
    assert (event.kind, event.account, event.service) == ("submission", "alice@x.example", "webmail")


def test_sessions_are_kept_with_the_state() -> None:
    first, second = Joiner(), Joiner()
    joined([login(17)], first)
    second.load(first.dump())
    assert joined([arrival(17)], second)[0].account == "alice"


EXIM = (
    "2026-11-24 01:50:43 plain authenticator failed for (pc) [198.51.100.7]: "
    "535 Incorrect authentication data (set_id=al)"
)
SENDMAIL = (
    "Nov 24 01:50:43 mx sm-mta[17]: 6AO1n9wh000017: AUTH failure (PLAIN): authentication failure (-13) SASL(-13): "
    "authentication failure: x, user=al, relay=[198.51.100.7]"
)
DOVECOT = "Nov 24 01:50:43 mx dovecot: auth: passwd-file(al,198.51.100.7): Password mismatch"


@pytest.mark.parametrize("line", [EXIM, SENDMAIL])
def test_a_failure_that_the_sasl_server_logs_too_is_told_apart(line: str) -> None:
    lines = [line, DOVECOT]
    events = joined(lines)
    Enricher().enrich(zip(events, lines, strict=True))
    tallies = Tallier(lambda _: False).tally(zip(events, lines, strict=True))
    assert [(t.errors, t.errors_mta, t.errors_sasl) for t in tallies if t.kind == "account"] == [(0, 1, 1)]
