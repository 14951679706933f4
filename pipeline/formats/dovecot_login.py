"""Dovecot's login processes, 1.0 to 2.4: ``imap-login``, ``pop3-login``, ``managesieve-login``, ``submission-login``.

``user=<…>`` is the client's text: Dovecot replaces control characters, cuts it at 80 characters and escapes nothing.
Address and session follow it, so they are found from the right; only a trusted proxy or webmail can set them.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name, number
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Session, Unreadable
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "dovecot-login"
_IP = r"[0-9A-Fa-f:.]+(?:%\w+)?"
_USER_FIRST = re.compile(
    rf"user=<(?P<user>.*)>(?:, method=(?P<method>[^\s<>]*))?, rip=(?P<rip>{_IP})(?:, method=(?P<late>[^\s,<>]*))?"
    rf"(?P<rest>(?:, (?!rip=|user=)[^<>,]+(?:<[^\s<>]*>)?)*)",
    re.DOTALL,
)
_RIP_FIRST = re.compile(
    rf"(?:(?:(?!user=|rip=)[^<>,]+(?:<[^\s<>]*>)?), )*rip=(?P<rip>{_IP})(?P<rest>(?:, .*)?)", re.DOTALL
)
_LAST_USER = re.compile(r"(?:, (?!user=)[^<>,]+(?:<[^\s<>]*>)?)*, user=<(?P<user>[^<>]*)>", re.DOTALL)
_SESSION = re.compile(r"(?:, |: )session=<([^\s<>]*)>")
_FIELDS = re.compile(r": (?=(?:rip|lip|method|session|mpid)=)")
_ATTEMPTS = re.compile(r"\((?:(?:auth failed|authorization failed), )?([0-9]+) (?:authentication )?attempts?")
_OLD = re.compile(rf"(?:Login: (?P<user>\S+)|Aborted login|Disconnected(?:: [\w ]+)?) \[(?P<ip>{_IP})\]")  # 0.99
_WHY: tuple[tuple[str, AuthReason], ...] = (
    ("(auth failed", "password"),
    (" authentication attempts)", "password"),  # 1.1
    ("(proxy dest auth failed", "password"),
    ("(authorization failed", "disabled"),
    ("(user disabled", "disabled"),
    ("(login disabled", "disabled"),
    ("(password expired", "disabled"),
    ("(user is denied", "disabled"),
    ("(auth service reported temporary failure", "temporary"),
    ("(auth process communication failure", "temporary"),
    ("(internal failure", "temporary"),
    ("(tried to use unsupported auth mechanism", "mechanism"),
)


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of a login process: a login, a failure, or a connection that ended without either."""
    said, found, fields = (first, "=", rest[6:]) if rest.startswith("user=<") else rest.partition(": user=<")
    event = Event("connect", time, host, program, service)
    if not found or "rip=" in said or "=<" in said:  # fields came before: it stands within the user's name
        event.kind = "other"
        return event if first.startswith("proxy(") else _other_order(event, first, rest)
    if said is not first:
        said = f"{first}: {said}"
    left, found, right = fields.rpartition(", rip=")
    user, login, method = left.rpartition(">, method=")
    address, _, tail = right.partition(", ")
    session, closed = tail.rpartition("session=<")[2], fields[-1:] == ">"
    if found and login and closed and ", rip=" not in left and "<" not in method and ">" not in method:
        event.client_ip, event.method, event.session = CANONICAL_IP[address], method, session[:-1]
        if event.client_ip is not None and len(session) < len(tail):
            return _result(event, said, user)
    match = _USER_FIRST.fullmatch(f"user=<{fields}")
    if match is None:
        return Unreadable(_NAME, "user=<> is not followed by rip=")
    event.client_ip = CANONICAL_IP[match["rip"]]
    if event.client_ip is None:
        return Unreadable(_NAME, "rip= is no address")
    own = _SESSION.search(match["rest"])
    event.method, event.session = match["method"] or match["late"] or None, own[1] if own else None
    return _result(event, said, match["user"])


def _result(event: Event, said: str, user: str) -> Event:
    """What the process ``said`` before the fields, as kind, account, reason and count."""
    if said in ("Login", "Logged in") or (said.startswith("proxy(") and "): started proxying to " in said):
        event.kind, event.account = "auth_success", account_name(user)
        return event
    for words, reason in _WHY:
        if words in said:
            event.kind, event.account, event.reason = "auth_failure", account_name(user), reason
            attempts = _ATTEMPTS.search(said)
            event.count = max(1, (number(attempts[1]) if attempts else None) or 1)
            break
    return event


def _other_order(event: Event, first: str, rest: str) -> Event | Unreadable:
    """Fields in an order of the operator's own (``login_log_format_elements``): the address before the user."""
    text = f"{first}: {rest}"
    start = _FIELDS.search(text)
    if start is None:
        return _without_fields(event, text if rest else first)
    match = _RIP_FIRST.fullmatch(text, start.end())
    event.client_ip = CANONICAL_IP[match["rip"]] if match else None
    if match is None or event.client_ip is None:
        return Unreadable(_NAME, "no rip= before the user")
    own = _SESSION.search(text[start.start() :].partition("user=<")[0])
    event.kind, event.session = "connect", own[1] if own else None
    last = _LAST_USER.fullmatch(match["rest"])  # a user that is not last may itself hold what seems to follow it
    return _result(event, text[: start.start()], last["user"] if last else "")


def _without_fields(event: Event, text: str) -> Event:
    old = _OLD.fullmatch(text)
    if old is not None:
        event.kind, event.client_ip = "connect", CANONICAL_IP[old["ip"]]
        if old["user"] is not None:
            event.kind, event.account = "auth_success", account_name(old["user"])
    return event


SERVICES = {
    "imap-login": "imap",
    "pop3-login": "pop3",
    "managesieve-login": "managesieve",
    "submission-login": "submission",
    "imap-urlauth-login": "imap",
}
FORMAT = Format(
    _NAME,
    Role.ACCESS,
    dict.fromkeys(SERVICES, read),
    session=Session.SUM,
    within="dovecot",
    clients=(
        ClientText("user", r"user=<([^<>]*)>", longest=80),
        ClientText("mechanism", r"user=<>, method=([^\s<>,]*)", Escape.WORD, longest=64),
        ClientText("session, of a webmail that is trusted", r"session=<([^<>]*)>", Escape.WORD),
    ),
)
