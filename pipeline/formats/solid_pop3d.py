"""solid-pop3d(8): ``what user - address``; the user is the client's, cut at 40 characters, the address is last."""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Format, Outcome, Role, Unreadable
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "solid-pop3d"
_FAILED: tuple[tuple[str, AuthReason], ...] = (
    ("authentication failed: no such user: ", "unknown_user"),
    ("authentication failed: can't map user name: ", "unknown_user"),
    ("authentication failed for mapped user ", "password"),
    ("authentication failed for user ", "password"),
    ("APOP authentication failed for user ", "password"),
    ("can't find APOP secret for user ", "mechanism"),
)
_PASSED = re.compile(r"(?:mapped )?user (?P<user>.*) authenticated(?: through APOP)?", re.DOTALL)
_LONGEST = 40


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of solid-pop3d."""
    text = f"{first}: {rest}" if rest else first
    event = Event("other", time, host, program, "pop3")
    if text.startswith("connect from "):
        event.kind, event.client_ip = "connect", CANONICAL_IP[text[13:]]
        return event
    left, _, address = text.rpartition(" - ")
    for words, reason in _FAILED:
        if left.startswith(words):
            event.kind, event.reason, user = "auth_failure", reason, left[len(words) :]
            break
    else:
        passed = _PASSED.fullmatch(left)
        if passed is None:
            return event
        event.kind, user = "auth_success", passed["user"]
    event.client_ip = CANONICAL_IP[address]
    if event.client_ip is None:
        return Unreadable(_NAME, "no client address")
    event.account = account_name(user) if len(user) < _LONGEST else None
    return event


FORMAT = Format(
    _NAME,
    Role.ACCESS,
    {"solid-pop3d": read, "spop3d": read},
    clients=(ClientText("user", r"(?:failed|secret) for user (\S+) - |(?:user|name): (\S+) - "),),
)
