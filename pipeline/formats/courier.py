"""Courier's imapd and pop3d, with and without TLS.

The user is the client's text, unescaped; address and port follow it and are found from the right. When authdaemond
does not answer, Courier writes the same ``LOGIN FAILED`` as for a wrong password.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Unreadable
from schemas.event import Event

_NAME = "courier"
_SERVICES = {
    f"{courier}{server}{tls}": service
    for service, servers in (("imap", ("imapd", "imaplogin")), ("pop3", ("pop3d", "pop3login")))
    for server in servers
    for courier in ("", "courier", "courier-")
    for tls in ("", "-ssl")
} | {"courier-imap": "imap", "courier-pop3": "pop3"}
_TAIL = re.compile(r"(?P<ip>[^\s\[\]]+)\](?:, port=\[[0-9]+\])?(?:, [a-z]+=\S*)*")
_MECHANISMS = frozenset(("PLAIN", "LOGIN", "CRAM-MD5", "CRAM-SHA1", "CRAM-SHA256", "EXTERNAL"))
_OTHERS = (
    "LOGOUT, ", "TIMEOUT, ", "DISCONNECTED, ", "Disconnected, ", "Maximum connection limit reached ",
    "authdaemon: ", "[Hint: perhaps authdaemond ", "authentication error: ", "couriertls: ",
)  # fmt: skip


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of imapd or pop3d."""
    event = Event("other", time, host, program, _SERVICES[program])
    text = f"{first}: {rest}" if rest else first
    if text.startswith("Connection, ip=["):
        event.kind = "connect"
    elif text.startswith("LOGIN FAILED, "):
        event.kind, event.reason = "auth_failure", "password"
    elif text.startswith("LOGIN, user="):
        event.kind = "auth_success"
    else:
        if text.startswith("authdaemon: s_connect() failed"):
            event.reason = "temporary"
        return event if text.startswith(_OTHERS) else None
    left, found, right = f", {text}".rpartition(", ip=[")
    tail = _TAIL.fullmatch(right)
    event.client_ip = CANONICAL_IP[tail["ip"]] if found and tail else None
    if event.client_ip is None:
        return Unreadable(_NAME, "no client address")
    what, found, who = left.partition(", user=")
    if found:
        event.account = account_name(who)
    elif event.kind == "auth_failure":
        event.method = what.partition(", method=")[2] or None
        if event.method not in _MECHANISMS and event.method is not None:
            event.method, event.reason = None, "mechanism"
    return event


def read_daemon(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """authdaemond: its front ends tell of each failure."""
    return Event("other", time, host, program)


FORMAT = Format(
    _NAME,
    Role.ACCESS,
    dict.fromkeys(_SERVICES, read) | {"authdaemond": read_daemon},
    roles={"authdaemond": Role.ASKED},
    clients=(
        ClientText("user", r"user=([^,]*)"),
        ClientText("mechanism", r"method=([^,]*)", Escape.WORD),
    ),
)
