"""Whatever a client writes, no line gives an account or an address that is not the true one."""

import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.formats.reading.format import Unreadable
from pipeline.formats.reading.lines import LineReader, split_frame
from schemas.event import Event

REFERENCE = 1_796_083_200.0  # 2026-12-01
TRUE_IP, TRUE_ACCOUNT = "198.51.100.7", "alice@mail.example"
EVIL_IP, EVIL_ACCOUNT = "203.0.113.66", "victim@mail.example"
FORGED = (
    EVIL_ACCOUNT, EVIL_IP, f"[{EVIL_IP}]", f",{EVIL_IP}", f", rip={EVIL_IP}", f",{EVIL_IP}): ",
    f"?,{EVIL_IP}", f",{EVIL_IP},<abc>): Password mismatch", f">, method=PLAIN, rip={EVIL_IP}, lip=192.0.2.1",
    ", session=<abc>", ", TLS, session=<abc", "user=<", "unknown user", "): Password mismatch", "unknown",
    "; from=<", "> to=<", "> proto=ESMTP helo=<", ", sasl_username=", ", sasl_method=PLAIN",
    ": SASL PLAIN authentication failed: ", "(reason unavailable)", "warning: ", "client=", " from ",
    ">: Sender address rejected: not owned by user ", "reject: RCPT from ", "NOQUEUE: ", "postfix/smtpd[1]: ",
    "(auth failed, 9 attempts in 1 secs)", "Login: ", ">, size=1", ", nrcpt=9 (queue active)",
    ">, relay=none, delay=1, delays=0/0/0/0, dsn=2.0.0, status=sent (",
    ">", "<", "]", "[", ",", ": ", '"', "\\", "%", "?", "\x00", "\x85", "\u2028",
)  # fmt: skip
hostile = st.lists(st.sampled_from(FORGED) | st.text(max_size=6), max_size=7).map("".join)


CONTROL = dict.fromkeys((*range(32), 127), "?")
NEUTERED = str.maketrans(dict.fromkeys(' <>()\\";@', "?"))


def logged(text: str) -> str:
    """As Postfix and Dovecot write it: control characters are replaced, nothing else."""
    return text.translate(CONTROL)


def helo(text: str) -> str:
    """smtpd also replaces what delimits fields in HELO (``NEUTER_CHARACTERS``)."""
    return logged(text).translate(NEUTERED)


def sanitized(text: str, longest: int) -> str:
    """Dovecot's str_sanitize(): cut with three dots."""
    text = logged(text)
    return text if len(text) <= longest else text[: longest - 3] + "..."


def external(address: str) -> str:
    """Postfix 3.5 and later: an address that is not plain is written in quotes."""
    local, _, domain = logged(address).rpartition("@")
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    domain = "".join(char for char in domain if char.isascii() and (char.isalnum() or char in ".-"))
    return f'"{escaped}"@{domain}x.example'


SMTPD = f"Nov 24 01:50:43 mx postfix/submission/smtpd[1]: {{}}unknown[{TRUE_IP}]: "
TEMPLATES: dict[str, Callable[[str, str, str], str]] = {
    "sasl user": lambda a, b, c: (
        SMTPD.format("warning: ")
        + f"SASL PLAIN authentication failed: (reason unavailable), sasl_username={logged(a)[:100]}"
    ),
    "sasl mechanism": lambda a, b, c: (
        SMTPD.format("warning: ")
        + f'SASL "{logged(a)}" authentication failed: Invalid authentication mechanism, sasl_username=(unavailable)'
    ),
    "command": lambda a, b, c: (
        f"Nov 24 01:50:43 mx postfix/smtpd[1]: warning: non-SMTP command from unknown[{TRUE_IP}]: {logged(a)}"
    ),
    "recipient rejected": lambda a, b, c: (
        SMTPD.format("NOQUEUE: reject: RCPT from ")
        + f"554 5.7.1 <{logged(a)}@x>: Recipient address rejected: Access denied; "
        f"from=<{external(b)}> to=<{external(a)}> proto=ESMTP helo=<{helo(c)}>"
    ),
    "sender rejected": lambda a, b, c: (
        SMTPD.format("NOQUEUE: reject: RCPT from ")
        + f"553 5.7.1 <{logged(a)}>: Sender address rejected: not owned by user {TRUE_ACCOUNT}; "
        f"from=<{external(a)}> to=<{external(b)}> proto=ESMTP helo=<{helo(c)}>"
    ),
    "helo rejected": lambda a, b, c: (
        SMTPD.format("NOQUEUE: reject: RCPT from ")
        + f"504 5.5.2 <{helo(c)}>: Helo command rejected: need fully-qualified hostname; "
        f"from=<{external(a)}> to=<{external(b)}> proto=ESMTP helo=<{helo(c)}>"
    ),
    "accepted": lambda a, b, c: (
        f"Nov 24 01:50:43 mx postfix/smtpd[1]: 4jYQJg4KFnzJB9r: client=unknown[{TRUE_IP}], "
        f"sasl_method=PLAIN, sasl_username={TRUE_ACCOUNT}, sasl_sender={logged(a)}"
    ),
    "header": lambda a, b, c: (
        f"Nov 24 01:50:43 mx postfix/cleanup[1]: 4jYQJg4KFnzJB9r: reject: header Subject: "
        f"{logged(a)} from unknown[{TRUE_IP}]; from=<{external(b)}> to=<x@y.example> proto=ESMTP helo=<{helo(c)}>: no"
    ),
    "message id": lambda a, b, c: f"Nov 24 01:50:43 mx postfix/cleanup[1]: 4jYQJg4KFnzJB9r: message-id={logged(a)}",
    "envelope": lambda a, b, c: (
        f"Nov 24 01:50:43 mx postfix/qmgr[1]: 4jYQJg4KFnzJB9r: from=<{external(a)}>, size=77, nrcpt=3 (queue active)"
    ),
    "login": lambda a, b, c: (
        "Nov 24 01:50:43 imap-login: Info: Disconnected: Aborted login by logging out (auth failed, "
        f"1 attempts in 0 secs): user=<{sanitized(a, 80)}>, method=PLAIN, rip={TRUE_IP}, lip=127.0.0.1, TLS, "
        "session=<AwA68PtgmFjGEg5J>"
    ),
    "login without session": lambda a, b, c: (
        "Nov 24 01:50:43 mx dovecot: pop3-login: Aborted login (auth failed, 1 attempts"
        f" in 0 secs): user=<{sanitized(a, 80)}>, method=PLAIN, rip={TRUE_IP}, lip=127.0.0.1, TLS"
    ),
    "login, address first": lambda a, b, c: (
        "Nov 24 01:50:43 mx dovecot: pop3-login: Aborted login (auth failed, 1 attempts"
        f" in 0 secs): rip={TRUE_IP}, lip=127.0.0.1, session=<x>, user=<{sanitized(a, 80)}>"
    ),
    "login mechanism": lambda a, b, c: (
        f"Nov 24 01:50:43 imap-login: Info: Authenticate {logged(a).replace(' ', '')} failed:"
        f" Unsupported authentication mechanism.: user=<>, method={logged(a).replace(' ', '')}, rip={TRUE_IP}, "
        "lip=127.0.0.1, secured, session=<AwA68PtgmFjGEg5J>"
    ),
    "auth": lambda a, b, c: (
        f"Nov 24 01:50:43 auth: Info: passwd-file({sanitized(a, 64)},{TRUE_IP},<AwA68PtgmFjGEg5J>): Password mismatch"
    ),
    "auth of the MTA": lambda a, b, c: (
        f"Nov 24 01:50:43 mx dovecot: auth: sql({sanitized(a, 64)},{TRUE_IP}): unknown user"
    ),
    "auth with password": lambda a, b, c: (
        f"Nov 24 01:50:43 mx dovecot: auth: sql({sanitized(a, 64)},{TRUE_IP},<x>): "
        f"Password mismatch (given password: {logged(b)})"
    ),
    "auth policy": lambda a, b, c: (
        f"Nov 24 01:50:43 auth: Info: policy({sanitized(a, 64)},{TRUE_IP}): Authentication failure "
        "due to policy server refusal: no"
    ),
    "user name refused": lambda a, b, c: (
        f"Nov 24 01:50:43 auth: Info: plain(?,{TRUE_IP}): Username character disallowed by "
        f"auth_username_chars: 0x3e (username: {logged(a)})"
    ),
}
LOGIN_LINES = ("login", "login without session", "login, address first")
CLIENTS_OWN = ("sasl user", *LOGIN_LINES, "auth", "auth of the MTA", "auth with password", "auth policy")
SAMPLES = [line("x", "y", "z") for line in TEMPLATES.values()]


@pytest.mark.parametrize("name", TEMPLATES)
@given(a=hostile, b=hostile, c=hostile)
@settings(max_examples=30, deadline=None)
@example(a=f"{EVIL_ACCOUNT}>, method=PLAIN, rip={EVIL_IP}, lip=1.1.1.1", b="", c="")
@example(a=f"{EVIL_ACCOUNT},{EVIL_IP},<x>): Password mismatch", b="x", c="")
@example(a=f"?,{EVIL_IP},<x>): Password mismatch", b="x", c="")
@example(a=f"a>: Sender address rejected: not owned by user {EVIL_ACCOUNT}; from=<a", b="x", c="")
@example(a="x", b=f"): Password mismatch,{EVIL_IP}): Password mismatch", c="")
def test_no_line_gives_a_wrong_account_or_address(name: str, a: str, b: str, c: str) -> None:
    outcomes = [
        LineReader().read(line, REFERENCE) for line in split_frame(TEMPLATES[name](a, b, c).encode(errors="replace"))
    ]
    assert len(outcomes) == 1
    outcome = outcomes[0]
    assert outcome is not None
    if isinstance(outcome, Unreadable):
        return
    assert outcome.client_ip in (TRUE_IP, None)
    true = {None, TRUE_ACCOUNT}
    if name in CLIENTS_OWN:
        true = {None, sanitized(a, 80).lower(), sanitized(a, 64).lower(), logged(a)[:100].lower()}
    assert outcome.account in true
    if name == "envelope":
        assert (outcome.nrcpt, outcome.size) == (3, 77)


@given(st.lists(st.binary(max_size=80) | st.sampled_from([line.encode() for line in SAMPLES]), max_size=8))
@settings(max_examples=60, deadline=None)
def test_no_bytes_raise_and_batches_do_not_matter(records: list[bytes]) -> None:
    lines = split_frame(b"\n".join(records))
    assert all(lines)
    reader = LineReader()
    together = reader.read_lines(lines, REFERENCE)
    assert together == [LineReader().read(line, REFERENCE) for line in lines]
    assert all(outcome is None or isinstance(outcome, Event | Unreadable) for outcome in together)


@given(st.sampled_from(SAMPLES), st.integers(0, 400), hostile)
@settings(max_examples=100, deadline=None)
def test_a_line_damaged_anywhere_never_raises(line: str, place: int, insert: str) -> None:
    LineReader().read_lines([line[:place], line[:place] + insert + line[place:], line[:place] + insert], REFERENCE)


FILLINGS = (
    "x", " ", ">", ", ", "): ", '"', "\\", "[", "]: ", "<a>", ", a<b>", ",<x>", ": user=<", ", rip=1.1.1.1", "> to=<",
    "; from=<", ">, orig_to=<", ", sasl_sender=", ", status=sent (",
    ">, relay=x, delay=1, delays=1, dsn=1, status=a (",
)  # fmt: skip
BASES = (*TEMPLATES, "delivery", "rfc5424", "own log")


def long_line(base: str, filling: str, length: int) -> str:
    text = (filling * length)[:length]
    if base == "delivery":
        return f"Nov 24 01:50:43 mx postfix/smtp[1]: 4jYQJg4KFnzJB9r: to=<{text}, relay=x"
    if base == "rfc5424":
        return f"<22>1 2026-11-24T01:50:43Z mx postfix 1 - [{text}"
    if base == "own log":
        return f"Nov 24 01:50:43 imap({text})<1><x>: Info: x"
    return TEMPLATES[base](text, text, text)


@pytest.mark.parametrize("base", BASES)
def test_long_lines_take_linear_time(base: str) -> None:
    reader = LineReader()

    def cost(length: int) -> float:
        lines = [long_line(base, filling, length) for filling in FILLINGS]
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            reader.read_lines(lines, REFERENCE)
            best = min(best, time.process_time() - start)
        return best

    # Sixteen times the length: about 16 times the time if linear, 256 times if quadratic.
    assert cost(16_000) < 60 * cost(1_000) + 0.01


def test_lines_of_100_kilobytes_are_read() -> None:
    outcome = LineReader().read(long_line("envelope", "x@", 100_000), REFERENCE)
    assert isinstance(outcome, Event)
    assert outcome.nrcpt == 3
    assert len(outcome.sender or "") >= 100_000
