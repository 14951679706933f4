"""perdition(8), a proxy for POP3, IMAP4 and ManageSieve: one ``Auth:`` line for each attempt.

The user stands in quotes that are not escaped: a line that could be read in two ways gives no account.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Format, Outcome, Role, Unreadable
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "perdition"
_AUTH = re.compile(
    r" ?\[?(?P<ip>[0-9A-Fa-f:.]+)\]?:[0-9]+-> ?\S+ client-secure=\S+ authorisation_id=(?P<left>.*) "
    r'server="[^"]*" protocol=(?P<protocol>[A-Z0-9]+) server-secure=\S+ status="(?P<status>[^"]*)"',
    re.DOTALL,
)
_PROTOCOLS = {"IMAP": "imap", "POP": "pop3", "MANAGESIEVE": "managesieve"}
_REASONS: tuple[tuple[str, AuthReason], ...] = (
    ("authentication failure", "password"),
    ("mechanism unavailable", "mechanism"),
    ("login disabled", "policy"),
    ("tls not present", "policy"),
    ("could not", "temporary"),
    ("negotiation failure", "temporary"),
)
_TAGS = ("perdition", *(f"perdition.{name}" for name in
         ("imap", "imap4", "imaps", "imap4s", "pop", "pop3", "pops", "pop3s", "managesieve")))  # fmt: skip


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of perdition."""
    event = Event("other", time, host, "perdition")
    if first == "Connect":
        event.kind, event.client_ip = "connect", CANONICAL_IP[rest.strip().partition("->")[0].rpartition(":")[0]]
        return event
    if first != "Auth":
        return event
    match = _AUTH.fullmatch(rest)
    if match is None:
        return Unreadable(_NAME, "Auth: without its fields")
    event.client_ip = CANONICAL_IP[match["ip"]]
    event.service = next((name for words, name in _PROTOCOLS.items() if match["protocol"].startswith(words)), None)
    status = match["status"].lower()
    event.kind = "auth_success" if status == "ok" else "auth_failure"
    if event.kind == "auth_failure":
        event.reason = next((reason for words, reason in _REASONS if words in status), "unknown")
    _, found, user = match["left"].partition('authentication_id="')
    if found and user.count('"') == 1:
        event.account = account_name(user.partition('"')[0])
    return event


FORMAT = Format(
    _NAME,
    Role.ACCESS,
    dict.fromkeys(_TAGS, read),
    clients=(ClientText("user", r'authentication_id="([^"()]*)"'),),
)
