"""Cyrus IMAP's imapd, pop3d and timsieved, 2.x to 3.x: ``login:`` and ``badlogin:``.

The user in ``badlogin:`` is the client's text, and so may be the reason of the SASL library that follows it: where
they imitate each other there is no account. Host names were looked up and hold neither blanks nor brackets.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Unreadable
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "cyrus"
_SERVICES = {
    "imap": "imap", "imaps": "imap", "imapd": "imap", "cyrus-imapd": "imap", "pop3": "pop3", "pop3s": "pop3",
    "pop3d": "pop3", "sieve": "managesieve", "timsieved": "managesieve", "lmtp": None, "lmtpd": None, "lmtpunix": None,
}  # fmt: skip
_PEER = re.compile(r"(?:[^\s\[\]]+ ?)?\[(?P<ip>[^\s\[\]]+)\] (?P<rest>.*)", re.DOTALL)
_PASSED = re.compile(
    r"(?P<user>.*) (?P<method>[A-Za-z0-9_+-]+) User logged in(?: SESSIONID=<(?P<session>[^<>\s]*)>)?", re.DOTALL
)
_INVALID = "invalid user"
_CODE = re.compile(r"SASL\((-[0-9]+)\): ")
_CODES: dict[str, AuthReason] = {
    "-1": "temporary", "-2": "temporary", "-24": "temporary", "-4": "mechanism", "-9": "mechanism", "-15": "mechanism",
    "-5": "aborted", "-6": "aborted", "-7": "aborted", "-13": "password", "-14": "policy", "-18": "disabled",
    "-19": "disabled", "-20": "unknown_user",
}  # fmt: skip
_MECHANISMS = frozenset(
    ("PLAINTEXT", "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "GSSAPI", "NTLM", "OTP", "EXTERNAL", "SCRAM-SHA-1",
     "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "GSS-SPNEGO", "XOAUTH2", "OAUTHBEARER")
)  # fmt: skip


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of a process that other servers have by the same name."""
    return _read(Event("other", time, host, program, _SERVICES.get(program)), first, rest)


def read_named(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line under ``cyrus/``: nobody else's."""
    event = Event("other", time, host, program, _SERVICES.get(program))
    return _read(event, first, rest) or event


def _read(event: Event, first: str, rest: str) -> Outcome:
    if first not in ("login", "badlogin"):
        return None
    peer = _PEER.match(rest)
    event.client_ip = CANONICAL_IP[peer["ip"]] if peer else None
    if peer is None or event.client_ip is None:
        return Unreadable(_NAME, f"{first} without a client address")
    if first == "badlogin":
        event.kind = "auth_failure"
        _failed(event, peer["rest"])
        return event
    passed = _PASSED.fullmatch(peer["rest"])
    if passed is None:
        return Unreadable(_NAME, "login without a user")
    event.kind, event.account, event.session = "auth_success", account_name(passed["user"]), passed["session"]
    event.method = passed["method"]
    return event


def _failed(event: Event, text: str) -> None:
    method, _, said = text.partition(" ")
    event.method = method if method.partition("+")[0].upper() in _MECHANISMS else None
    user, why = _split(said)
    if said.count("SASL(") > 1 or said.count("[") > 1:
        event.reason = "unknown"  # the client's text imitates the library's
        user = user if why == _INVALID else ""
    else:
        event.reason = _reason(why) if event.method else "mechanism"
    event.account = account_name(user) if user != "-notset-" else None


def _split(said: str) -> tuple[str, str]:
    if said.endswith(f" {_INVALID}"):
        return _bare(said.removesuffix(f" {_INVALID}")), _INVALID
    if said.endswith("]"):
        user, _, why = said[:-1].partition("[")
        return _bare(user.removesuffix(" ")), why
    user, found, why = said.partition("SASL(")
    return user.removesuffix(" "), found + why


def _bare(user: str) -> str:
    """Cyrus 3 writes the user in parentheses."""
    return user[1:-1] if user.startswith("(") and user.endswith(")") else user


def _reason(why: str) -> AuthReason:
    if "user not found" in why or why == _INVALID:
        return "unknown_user"
    code = _CODE.match(why)
    if code is not None:
        return _CODES.get(code[1], "unknown")
    return "password" if why.startswith("authentication failure") else "unknown"


FORMAT = Format(
    _NAME,
    Role.ACCESS,
    {"cyrus/": read_named} | dict.fromkeys(_SERVICES, read),
    clients=(
        ClientText("user", r"(?:plaintext|PLAIN) \(([^()]*)\)|plaintext ([^\s()]+) SASL|user: ([^\s@]+)@mx"),
        ClientText("user who got in", r"\] (\S+) plaintext|USAGE (\S+)", Escape.WORD),
        ClientText("mechanism", r"\] ([A-Z][A-Z0-9-]*)(?: \(-|$| \[)", Escape.WORD),
        ClientText("host by DNS", r"login: ([^\s\[\]]+) ?\[", Escape.HOST),
    ),
)
