"""RainLoop and SnappyMail: ``Auth failed: ip=… user=… host=… port=…`` (``auth_logging_format``), file or syslog.

The user is the client's text; the address stands to its left.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Format, Outcome, Role, Unreadable
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event

_NAME = "snappymail"
_BARE = re.compile(
    r"\[(?P<time>[0-9]{4}-[0-9-]+[ T][0-9:.]+)(?: ?(?:UTC|GMT|(?P<zone>[+-][0-9:]+)))?\](?:\[\w+\])? (?P<text>Auth .*)",
    re.DOTALL,
)
_TEXT = re.compile(r"Auth (?P<what>failed|success): ip=(?P<ip>\S+) user=(?P<user>.*)", re.DOTALL)
_AFTER = re.compile(r"(?P<user>.*) host=\S* port=[0-9]*", re.DOTALL)


def read_line(line: str, stamps: Stamps) -> Outcome:
    """A line of ``logs/auth-….txt``."""
    match = _BARE.fullmatch(line)
    time = stamps.iso(match["time"] + (match["zone"] or "")) if match else None
    return None if match is None or time is None else _read(Event("other", time, "", _NAME), match["text"])


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog."""
    return _read(Event("other", time, host, _NAME), f"{first}: {rest}" if rest else first)


def _read(event: Event, text: str) -> Outcome:
    event.service = "webmail"
    match = _TEXT.fullmatch(text)
    if match is None:
        return Unreadable(_NAME, "Auth without its fields") if text.startswith("Auth failed") else event
    event.kind = "auth_failure" if match["what"] == "failed" else "auth_success"
    event.reason = "password" if match["what"] == "failed" else None
    event.client_ip = CANONICAL_IP[match["ip"]]
    after = _AFTER.fullmatch(match["user"])
    event.account = account_name(after["user"] if after else match["user"])
    return event


FORMAT = Format(
    _NAME,
    Role.WEBMAIL,
    {"snappymail": read, "rainloop": read},
    bare=(("[", read_line),),
    clients=(ClientText("user", r"user=(\S+)"),),
)
