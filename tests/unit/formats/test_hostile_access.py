"""Whatever a client writes, no line of an access server or a webmail gives a wrong account or address."""

import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.formats.reading.lines import LineReader, split_frame
from schemas.event import Event
from schemas.kinds import PASSWORD_ERRORS

REFERENCE = 1_796_083_200.0  # 2026-12-01
TRUE_IP, PROXY = "198.51.100.7", "10.0.0.1"
EVIL_IP, EVIL_ACCOUNT = "203.0.113.66", "victim@mail.example"
FORGED = (
    EVIL_ACCOUNT, EVIL_IP, f"[{EVIL_IP}]", f", ip=[{EVIL_IP}]", f", ip=[{EVIL_IP}], port=[1]",
    f"] [{EVIL_IP}] plaintext (", ") [SASL(-13): authentication failure: x]", " SASL(-1): generic failure: x",
    ") invalid user", "[SASL(-1): ", "] [service=imap] [realm=] [mech=pam] [reason=PAM start error]",
    f" rhost={EVIL_IP}  user={EVIL_ACCOUNT}", f" auth=x host=y [{EVIL_IP}]", ' status="ok', f" - {EVIL_IP}",
    '" server="x:1" protocol=IMAP4 server-secure=ssl status="ok"', f'", server: 0.0.0.0:25, login: "{EVIL_ACCOUNT}',
    f" while in http auth state, client: {EVIL_IP}, ", f'", upstream: {EVIL_IP}', f" from {EVIL_IP}", " in session x",
    f" from {EVIL_IP} in session x (error: -2)", f" from {EVIL_IP}. Could not connect to x in /x",
    " (error: -2)", " against localhost", f" (X-Real-IP: {EVIL_IP})",
    f" (X-Forwarded-For: {EVIL_IP})", f",X-Forwarded-For: {EVIL_IP}",
    "). Could not connect to x in /x",
    f"' for user '{EVIL_ACCOUNT}' might not have ", "worked - password policy: 0",
    "' for user '", f" ({EVIL_IP}) to {{x}}", f" [{EVIL_IP}] to Horde", " to horde (1.1.1.1)",
    f" (x) from {EVIL_IP}: x",
    " host=x port=1", f" ip={EVIL_IP} user=", f"' (Remote IP: '{EVIL_IP}')", "authenticated", " LGN-0002 ",
    f" com.openexchange.login.login={EVIL_ACCOUNT}", f" com.openexchange.grizzly.remoteAddress={EVIL_IP}",
    "[", "]", "(", ")", "{", "}", '"', "'", ",", ": ", ":", "=", " ", "\\", "\x85", "\u2028",
    "Login failed for ", "...",
)  # fmt: skip
hostile = st.lists(st.sampled_from(FORGED) | st.text(max_size=6), max_size=6).map("".join)


def logged(text: str) -> str:
    """Of what a client writes, no server's log holds a line feed: one line is one event."""
    return "".join(char for char in text if char >= " " and char != "\x7f")


HEAD = "Nov 24 01:50:43 mx"
Template = Callable[[str, str], str]
FAILED: dict[str, Template] = {
    "courier": lambda a, b: f"{HEAD} imapd: LOGIN FAILED, user={a}, ip=[::ffff:{TRUE_IP}], port=[34745]",
    "courier, old": lambda a, b: f"{HEAD} pop3d: LOGIN FAILED, user={a}, ip=[::ffff:{TRUE_IP}]",
    "cyrus": lambda a, b: (
        f"{HEAD} cyrus/imap[207]: badlogin: [{TRUE_IP}] plaintext ({a}) "
        "[SASL(-13): authentication failure: checkpass failed]"
    ),
    "cyrus, no such user": lambda a, b: f"{HEAD} cyrus/imap[207]: badlogin: [{TRUE_IP}] plaintext ({a}) invalid user",
    "cyrus 2": lambda a, b: (
        f"{HEAD} imaps[207]: badlogin: client.example [{TRUE_IP}] plaintext {a} "
        "SASL(-13): authentication failure: checkpass failed"
    ),
    "cyrus, not in the database": lambda a, b: (
        f"{HEAD} cyrus/imap[207]: badlogin: [{TRUE_IP}] CRAM-MD5 (-notset-) "
        f"[SASL(-13): user not found: user: {a}@mx property: cmusaslsecretCRAM-MD5 not found in sasldb]"
    ),
    "saslauthd": lambda a, b: (
        f"{HEAD} saslauthd[6]:                 : auth failure: [user={a}] [service=smtp] [realm={b}] "
        "[mech=pam] [reason=PAM auth error]"
    ),
    "pam": lambda a, b: (
        f"{HEAD} auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot "
        f"ruser={a} rhost={TRUE_IP}  user={a}"
    ),
    "pam, no such user": lambda a, b: (
        f"{HEAD} auth: pam_unix(dovecot:auth): authentication failure; logname= uid=0 euid=0 tty=dovecot "
        f"ruser={a} rhost={TRUE_IP} "
    ),
    "uw-imap": lambda a, b: f"{HEAD} imapd[7]: Login failed user={a} auth={b} host=c.example [{TRUE_IP}]",
    "perdition": lambda a, b: (
        f"{HEAD} perdition.imaps[5]: Auth: {TRUE_IP}:57047->192.0.2.1:993 client-secure=ssl authorisation_id=NONE "
        f'authentication_id="{a}" server="i.example:993" protocol=IMAP4S server-secure=ssl '
        'status="failed: Re-Authentication Failure"'
    ),
    "popa3d": lambda a, b: f"{HEAD} popa3d[126]: Authentication failed for {a.replace(' ', '')}",
    "solid-pop3d": lambda a, b: f"{HEAD} solid-pop3d[14]: authentication failed: no such user: {a[:40]} - {TRUE_IP}",
    "nginx": lambda a, b: (
        '2026/11/24 03:18:47 [info] 83#83: *5 client login failed: "Invalid login or password" while in http auth '
        f'state, client: {TRUE_IP}, server: 0.0.0.0:143, login: "{a}"'
    ),
    "roundcube": lambda a, b: (
        f"[24-Nov-2026 01:50:59 +0000]: <w9cccccc> Failed login for {a} from {TRUE_IP} in session w9 (error: 0)"
    ),
    "roundcube, headers": lambda a, b: (
        f"[24-Nov-2026 01:50:59 +0000]: <w9cccccc> Failed login for {a} from {TRUE_IP} (X-Real-IP: {b}) "
        "in session w9 (error: 0)"
    ),
    "roundcube, both headers": lambda a, b: (
        f"[24-Nov-2026 01:50:59 +0000]: <w9cccccc> Failed login for {a} from {TRUE_IP} "
        f"(X-Real-IP: {b},X-Forwarded-For: {b}) in session w9 (error: 0)"
    ),
    "roundcube, proxy": lambda a, b: (
        f"[24-Nov-2026 01:50:59 +0000]: <w9cccccc> Failed login for {a} from {PROXY} "
        f"(X-Forwarded-For: {b}, {TRUE_IP}) in session w9 (error: 0)"
    ),
    "roundcube, errors": lambda a, b: (
        f"[24-Nov-2026 01:50:59 +0000]: <w9cccccc> IMAP Error: Login failed for {a} against i.example from {TRUE_IP}. "
        "AUTHENTICATE PLAIN: Authentication failed. in /usr/share/roundcube/program/lib/Roundcube/rcube_imap.php "
        "on line 211 (POST /?_task=login)"
    ),
    "roundcube, errors, headers": lambda a, b: (
        f"[24-Nov-2026 01:50:59 +0000]: <w9cccccc> IMAP Error: Login failed for {a} against i.example from {TRUE_IP} "
        f"(X-Forwarded-For: {b}). AUTHENTICATE PLAIN: Authentication failed. in /x.php on line 211 (POST /?_task=login)"
    ),
    "sogo": lambda a, b: (
        f"Nov 24 01:50:43 sogod [26818]: SOGoRootPage Login from '{TRUE_IP}' for user '{a}' might not have worked - "
        "password policy: 65535  grace: -1  expire: -1  bound: 0"
    ),
    "sogo, proxy": lambda a, b: (
        f"Nov 24 01:50:43 sogod [26818]: SOGoRootPage Login from '{b}, {TRUE_IP}' for user '{a}' might not have "
        "worked - password policy: 65535  grace: -1  expire: -1  bound: 0"
    ),
    "imp": lambda a, b: f"{HEAD} HORDE: [imp] FAILED LOGIN for {a} ({TRUE_IP}) to {{imap://localhost/}}",
    "imp, header": lambda a, b: (
        f"{HEAD} HORDE: [imp] FAILED LOGIN for {a} ({TRUE_IP}) (forwarded for [{b}]) to {{imap://localhost/}}"
    ),
    "imp 3": lambda a, b: (
        f"Nov 24 01:50:43 HORDE [error] [imp] FAILED LOGIN for {a} [{TRUE_IP}] to {{m:993 [imap/ssl]}}"
    ),
    "horde": lambda a, b: (
        f'{HEAD} HORDE: [horde] FAILED LOGIN for {a} to horde ({TRUE_IP}) [pid 812 on line 198 of "/x/login.php"]'
    ),
    "squirrelmail": lambda a, b: (
        f"11/24/2026 01:50:43 [LOGIN_ERROR] {a} (x.example) from {TRUE_IP}: Unknown user or password incorrect."
    ),
    "snappymail": lambda a, b: f"[2026-11-24 01:50:43] Auth failed: ip={TRUE_IP} user={a} host=i.example port=143",
    "open-xchange": lambda a, b: (
        "2026-11-24T01:50:43,193+0000 INFO [OXWorker-0000027] LGN-0006 "
        f"com.openexchange.grizzly.remoteAddress={TRUE_IP} com.openexchange.login.login={a}"
    ),
    "nextcloud": lambda a, b: f"{HEAD} Nextcloud[8]: {{core}} Login failed: '{a}' (Remote IP: '{TRUE_IP}')",
}


def true_names(a: str, b: str) -> set[str | None]:
    """The accounts that a line may give: the client's text and nothing less."""
    whole = {a, a.replace(" ", ""), f"{a}@{b}", f"{a}@x.example"}
    return {None} | {name.lower() for name in whole}


@pytest.mark.parametrize("name", FAILED)
@given(a=hostile, b=hostile)
@settings(max_examples=25, deadline=None)
@example(a=f"{EVIL_ACCOUNT}, ip=[{EVIL_IP}], port=[1]", b="")
@example(a=f"{EVIL_ACCOUNT} from {EVIL_IP} in session x (error: -2)", b="")
@example(a="x", b=f"x) from {EVIL_IP} in session x (error: 0")
@example(a="x", b=f"x). from {EVIL_IP}. Could not connect in /x")
@example(a=f"{EVIL_ACCOUNT} ({EVIL_IP}) to {{x}}", b=f"x]) ({EVIL_IP}) to {{x}}")
@example(a=f"{EVIL_ACCOUNT} (X-Forwarded-For: {EVIL_IP})", b=EVIL_IP)
def test_no_line_gives_a_wrong_account_or_address(name: str, a: str, b: str) -> None:
    a, b = logged(a), logged(b)
    lines = split_frame(FAILED[name](a, b).encode(errors="replace"))
    assert len(lines) == 1
    a, b = (text.encode(errors="replace").decode() for text in (a, b))
    outcome = LineReader().read(lines[0], REFERENCE)
    if not isinstance(outcome, Event):
        return
    assert outcome.client_ip in (TRUE_IP, None)
    assert outcome.account in true_names(a, b)
    assert outcome.kind in ("auth_failure", "other")
    if outcome.kind == "auth_failure" and name not in ("cyrus, not in the database",):
        assert outcome.reason in PASSWORD_ERRORS, "a client cannot make his guessing look like trouble of the server"


@pytest.mark.parametrize("name", FAILED)
def test_every_template_is_understood(name: str) -> None:
    outcome = LineReader().read(FAILED[name]("bob@x.example", EVIL_IP), REFERENCE)
    assert isinstance(outcome, Event)
    assert outcome.kind == "auth_failure"
    assert outcome.client_ip == (TRUE_IP if name not in ("saslauthd", "popa3d") else None)
    assert outcome.account == ("bob@x.example" if name != "cyrus, not in the database" else None)


FILLINGS = (
    "x", " ", ": ", "[", "]", "] [", ", ip=[", "(", ") ", " from ", " from 1.1.1.1. ", " in session ", "' for user '",
    " to {", " to horde (1.1.1.1) [pid ", '"', '" server="', " host=", " host=x port=1", "SASL(", " [SASL(-1): x]",
    "] [service=x", " rhost=", " - ", " com.openexchange.login.login=", "' (Remote IP: '", " (x) from ", ") (", "{",
    "\\", "<1>", "<a>", " has expired (", ", client: ", "X-Real-IP: ",
)  # fmt: skip
OTHERS: dict[str, Template] = {
    "roundcube, sent": lambda a, b: f"[24-Nov-2026 01:50:59 +0000]: <w> User {a} [1.1.1.1]; Message <{b}> for {a}; {b}",
    "pam, expired": lambda a, b: f"{HEAD} auth: pam_unix(dovecot:account): account {a} has expired ({b})",
    "cyrus, login": lambda a, b: f"{HEAD} cyrus/imap[2]: login: [1.1.1.1] {a} plaintext User logged in SESSIONID=<{b}>",
    "object": lambda a, b: '{"log":"' + a.replace("\\", "/").replace('"', "'") + '"}',
    "nested": lambda a, b: '{"a":' * len(a),
    "bare": lambda a, b: a,
}


@pytest.mark.parametrize("name", [*FAILED, *OTHERS])
def test_long_lines_take_linear_time(name: str) -> None:
    reader, template = LineReader(), (FAILED | OTHERS)[name]

    def cost(length: int) -> float:
        texts = [(filling * length)[:length] for filling in FILLINGS]
        lines = [template(text, text) for text in texts]
        lines += [line[: len(line) // 2] for line in lines]
        start = time.process_time()
        reader.read_lines(lines, REFERENCE)
        return time.process_time() - start

    # Sixteen times the length: about 16 times the time if linear, 256 times if quadratic.
    assert min(cost(8_000) for _ in range(2)) < 70 * cost(500) + 0.02


@pytest.mark.parametrize("name", FAILED)
def test_lines_of_100_kilobytes_are_read(name: str) -> None:
    start = time.process_time()
    LineReader().read(FAILED[name]("x@" * 50_000, "y" * 100_000), REFERENCE)
    assert time.process_time() - start < 0.5
