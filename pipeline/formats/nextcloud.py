"""Nextcloud (nextcloud.log as JSON, or syslog): logins to it, and so to its Mail app.

``remoteAddr`` is a field of its own; in syslog the address stands last in the message.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Format, Outcome, Role
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event

_NAME = "nextcloud"
_FAILED = re.compile(
    r"Login failed: (?:'(?P<old>.*)' \(Remote IP: '(?P<old_ip>[^'()\s]+)'\)|"
    r"(?P<user>.*) \(Remote IP: (?P<ip>[^'()\s]+)\))",
    re.DOTALL,
)
_PASSED = re.compile(r'Login successful: "?(?P<user>.*?)"?', re.DOTALL)
_APP = re.compile(r"\{[\w-]+\} ")


def read_object(fields: Mapping[str, object], stamps: Stamps) -> Outcome:
    """A line of ``nextcloud.log``."""
    if "reqId" not in fields or "remoteAddr" not in fields:
        return None
    message, address, time = fields.get("message"), fields["remoteAddr"], stamps.any(fields.get("time"))
    if not isinstance(message, str) or not isinstance(address, str) or time is None:
        return None
    event = _read(Event("other", time, "", _NAME, "webmail"), message)
    if event.kind != "other":
        event.client_ip = CANONICAL_IP[address]
    return event


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog: ``{core} Login failed: …``."""
    text = f"{first}: {rest}" if rest else first
    app = _APP.match(text)
    return _read(Event("other", time, host, _NAME, "webmail"), text[app.end() :] if app else text)


def _read(event: Event, message: str) -> Event:
    failed = _FAILED.fullmatch(message)
    if failed is not None:
        event.kind, event.reason = "auth_failure", "password"
        event.client_ip = CANONICAL_IP[failed["ip"] or failed["old_ip"]]
        event.account = account_name(failed["user"] or failed["old"] or "")
        return event
    passed = _PASSED.fullmatch(message)
    if passed is not None:
        event.kind, event.account = "auth_success", account_name(passed["user"])
    return event


FORMAT = Format(
    _NAME,
    Role.WEBMAIL,
    {"Nextcloud": read, "nextcloud": read, "ownCloud": read},
    objects=read_object,
    clients=(
        ClientText("user", r"Login failed: '?([^\s']+)'? \("),
        ClientText("User-Agent", r'"userAgent":"([^"]*)"'),
        ClientText("URL", r'"url":"([^"]*)"'),
    ),
)
