"""SquirrelMail's plugin squirrel_logger: ``11/24/2026 01:50:43 [LOGIN_ERROR] user (domain) from address: text``."""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Unreadable
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "squirrelmail"
_BARE = re.compile(
    r"(?P<month>[0-9]{2})/(?P<day>[0-9]{2})/(?P<year>[0-9]{4}) (?P<clock>[0-9]{2}:[0-9]{2}:[0-9]{2}) (?P<text>\[.*)",
    re.DOTALL,
)
_TEXT = re.compile(
    r"\[(?P<what>[A-Z_]+)\] (?P<user>.*?) \((?P<domain>[^()\s]*)\) from (?P<ip>[0-9A-Fa-f.:]+?)(?:: (?P<why>.*)|:)?",
    re.DOTALL,
)
_WHY: tuple[tuple[str, AuthReason], ...] = (
    ("unknown user or password incorrect", "password"),
    ("connect", "temporary"),
    ("temporar", "temporary"),
    ("server error", "temporary"),
    ("dropped connection", "temporary"),
    ("disabled", "disabled"),
)


def read_line(line: str, stamps: Stamps) -> Outcome:
    """A line of the plugin's own file."""
    match = _BARE.fullmatch(line)
    if match is None:
        return None
    time = stamps.iso(f"{match['year']}-{match['month']}-{match['day']}T{match['clock']}")
    return None if time is None else _read(Event("other", time, "", _NAME), match["text"])


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog."""
    return _read(Event("other", time, host, _NAME), f"{first}: {rest}" if rest else first)


def _read(event: Event, text: str) -> Outcome:
    event.service = "webmail"
    if not text.startswith(("[LOGIN] ", "[LOGIN_ERROR] ")):
        return event
    match = _TEXT.fullmatch(text)
    if match is None:
        return Unreadable(_NAME, "login without an address")
    event.kind = "auth_success" if match["what"] == "LOGIN" else "auth_failure"
    if event.kind == "auth_failure":
        low = (match["why"] or "").lower()
        event.reason = next((reason for words, reason in _WHY if words in low), "unknown")
    if text.count(") from ") == 1:
        user = match["user"]
        event.client_ip = CANONICAL_IP[match["ip"]]
        event.account = account_name(f"{user}@{match['domain']}" if "@" not in user and match["domain"] else user)
    return event


FORMAT = Format(
    _NAME,
    Role.WEBMAIL,
    {"squirrelmail": read},
    bare=(("01", read_line),),
    clients=(
        ClientText("user", r"ERROR\] (\S+) \("),
        ClientText("user's domain", r"ERROR\] \S+ \(([^()]*)\)", Escape.HOST),
    ),
)
