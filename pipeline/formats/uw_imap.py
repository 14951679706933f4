"""UW IMAP: imapd, ipop3d, ipop2d (imapd.c, ipop3d.c). ``host=name [address]`` is last; names are the client's text."""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role
from schemas.event import Event
from schemas.kinds import AuthReason

_SERVICES = {"imapd": "imap", "ipop3d": "pop3", "ipop2d": "pop3", "uw-imapd": "imap"}
_WHAT: tuple[tuple[str, AuthReason], ...] = (
    ("Login failed user=", "password"),
    ("Login failure user=", "password"),
    ("Login disabled user=", "disabled"),
    ("Login excessive login failures user=", "password"),
    ("Excessive login failures user=", "password"),
    ("Login excessive ", "policy"),
    ("AUTHENTICATE ", "password"),
    ("APOP failed user=", "password"),
)
_PEER = re.compile(r"(?P<left>.*) host=(?:[^\s\[\]]+ )?\[?(?P<ip>[^\s\[\]]+)\]?(?: mech=\S+)?", re.DOTALL)
_LONGEST = 80  # characters of a name that are logged


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line: a login or its failure."""
    text = f"{first}: {rest}" if rest else first
    event = Event("auth_failure", time, host, program, _SERVICES[program])
    for words, reason in _WHAT:
        if text.startswith(words):
            event.reason = reason
            break
    else:
        if not text.startswith(("Login user=", "Authenticated user=", "APOP user=")):
            return None
        event.kind = "auth_success"
    peer = _PEER.fullmatch(text)
    if peer is None:
        return None
    event.client_ip = CANONICAL_IP[peer["ip"]]
    left = peer["left"]
    if left.startswith("AUTHENTICATE "):
        return event if left.endswith(" failure") else None
    user = left.partition("user=")[2]
    if " auth=" in user:
        user = user.partition(" auth=")[0] if user.count(" auth=") == 1 else ""
    event.account = account_name(user) if len(user) < _LONGEST else None
    return event


FORMAT = Format(
    "uw-imap",
    Role.ACCESS,
    dict.fromkeys(_SERVICES, read),
    clients=(
        ClientText("user", r"Login (?:failed|disabled|excessive login failures) user=(\S+)"),
        ClientText("user who is authorised", r"auth=(\S+)"),
        ClientText("mechanism", r"AUTHENTICATE (\S+)", Escape.WORD),
        ClientText("host by DNS", r"host=([a-z][\w.]*) \[", Escape.HOST),
    ),
)
