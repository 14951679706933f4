"""One wrong password told by several programs counts once; lines as the daemons wrote them."""

import pytest

from pipeline.formats.reading.lines import LineReader
from pipeline.normalize.attempts.attempts import Attempts
from schemas.event import Event

REFERENCE = 1_796_083_200.0
CYRUS = [
    "Nov 24 03:20:31 mx saslauthd[60]: pam_unix(imap:auth): authentication failure; logname= uid=0 euid=0 tty= ruser= "
    "rhost=  user=bob",
    "Nov 24 03:20:32 mx saslauthd[60]:                 : auth failure: [user=bob] [service=imap] [realm=] [mech=pam] "
    "[reason=PAM auth error]",
    "Nov 24 03:20:32 mx cyrus/imap[207]: badlogin: [198.51.100.7] plaintext (bob) [SASL(-13): authentication failure: "
    "checkpass failed]",
]
COURIER = [
    "Nov 24 03:17:27 mx authdaemond: pam_unix(imap:auth): authentication failure; logname= uid=0 euid=0 tty= ruser= "
    "rhost=::ffff:198.51.100.7  user=bob",
    "Nov 24 03:17:28 mx imapd: LOGIN FAILED, user=bob, ip=[::ffff:198.51.100.7], port=[34745]",
]
DOVECOT = [
    "Nov 24 03:17:27 mx auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot "
    "ruser=bob rhost=198.51.100.7  user=bob",
    "Nov 24 03:17:28 mx dovecot: imap-login: Aborted login (auth failed, 1 attempts in 2 secs): user=<bob>, "
    "method=PLAIN, rip=198.51.100.7, lip=192.0.2.1, session=<{}>",
]
SASL = CYRUS[1].replace("[service=imap]", "[service=smtp]")
POSTFIX = "Nov 24 03:20:32 mx postfix/smtpd[1]: warning: unknown[198.51.100.7]: SASL PLAIN authentication failed: "


def settled(lines: list[str], attempts: Attempts) -> list[Event]:
    events = [e for e in LineReader().read_lines(lines, REFERENCE) if isinstance(e, Event)]
    assert len(events) == len(lines)
    return attempts.settle(events, [(e, "") for e in events]).events


def counted(lines: list[str], attempts: Attempts) -> int:
    found = settled(lines, attempts) + attempts.finish().events
    return sum(e.count for e in found if e.kind == "auth_failure")


@pytest.mark.parametrize("lines", [CYRUS, COURIER, DOVECOT])
def test_once_the_front_end_is_known_each_failure_counts_once(lines: list[str]) -> None:
    attempts = Attempts()
    assert counted([lines[-1].format(0)], attempts) == 1
    for session in range(1, 4):
        restarted = Attempts()
        restarted.load(attempts.dump())
        attempts = restarted
        assert counted([line.format(session) for line in lines], attempts) == 1


def test_those_asked_count_where_nobody_else_tells() -> None:
    assert counted([SASL] * 3, Attempts()) == 3
    assert counted([*CYRUS, SASL], Attempts()) == 2, "the front end of another service tells nothing of this one"
    assert counted([f"{POSTFIX}authentication failure", SASL], Attempts()) == 2, "a front end that names no account"
    assert counted([f"{POSTFIX}authentication failure, sasl_username=bob", SASL], Attempts()) == 1
    late = SASL.replace("03:20", "03:40")
    assert counted([f"{POSTFIX}authentication failure, sasl_username=bob", late], Attempts()) == 2


def test_couriers_failures_are_trouble_when_nobody_answers_it() -> None:
    down = "Nov 24 03:18:01 mx imapd: authdaemon: s_connect() failed: Connection refused"
    failed = "Nov 24 03:18:01 mx {}: LOGIN FAILED, user=bob, ip=[::ffff:198.51.100.7], port=[51707]"
    lines = [down, failed.format("imapd"), failed.format("pop3d"), failed.format("imapd").replace(":01 ", ":09 ")]
    events = [e for e in LineReader().read_lines(lines, REFERENCE) if isinstance(e, Event)]
    first, second = Attempts(), Attempts()
    first.settle(events[:1], [(events[0], "")])
    second.load(first.dump())
    second.settle(events[1:], [(event, "") for event in events[1:]])
    assert [e.reason for e in events] == ["temporary", "temporary", "password", "password"]
