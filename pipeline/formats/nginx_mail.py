"""nginx as a mail proxy (ngx_mail_auth_http_module): its error log, as a file or through syslog.

The login is last and is the client's text, in quotes that are not escaped; all to its left is nginx's own, but for
``Auth-Status``, which is the text of the operator's authentication server.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Format, Outcome, Role, Unreadable
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "nginx-mail"
_START = (
    r"(?P<time>[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}) \[(?P<level>[a-z]+)\] [0-9]+#[0-9]+: "
    r"(?:\*[0-9]+ )?(?=client log)"
)
_LINE = re.compile(rf"{_START}(?P<text>.*)", re.DOTALL)
_FAILED, _PASSED = "client login failed: ", "client logged in"
_STATE = " while in http auth state"
_PEER = re.compile(
    r", client: (?:unix:|(?P<ip>[0-9A-Fa-f:.]+))(?: using starttls)?, "
    r'server: (?P<server>[^,"]+)(?:, login: "(?P<login>.*))?',
    re.DOTALL,
)
_SERVICES = {
    "25": "smtp",
    "465": "smtps",
    "587": "submission",
    "143": "imap",
    "993": "imap",
    "110": "pop3",
    "995": "pop3",
}
_REASONS: tuple[tuple[str, AuthReason], ...] = (
    ("temporar", "temporary"),
    ("try again", "temporary"),
    ("unavailable", "temporary"),
    ("internal", "temporary"),
    ("server problem", "temporary"),
    ("disabled", "disabled"),
    ("suspended", "disabled"),
    ("locked", "disabled"),
    ("expired", "disabled"),
    ("blocked", "policy"),
    ("too many", "policy"),
    ("denied", "policy"),
    ("not allowed", "policy"),
    ("mechanism", "mechanism"),
)


def read_line(line: str, stamps: Stamps) -> Outcome:
    """A line of the error log."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    time = stamps.iso(match["time"].replace("/", "-"))
    if time is None:
        return Unreadable(_NAME, "there is no such date or time")
    return _read(Event("other", time, "", "nginx"), match["text"])


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog: the same text, with the time once more."""
    match = _LINE.fullmatch(f"{first}: {rest}")
    return None if match is None else _read(Event("other", time, host, program), match["text"])


def _read(event: Event, text: str) -> Outcome:
    if text.startswith(_FAILED):
        status, found, peer = text[len(_FAILED) :].partition(_STATE)
        event.kind, event.reason = "auth_failure", _reason(status)
    elif text.startswith(_PASSED):
        event.kind, found, peer = "auth_success", "", text[len(_PASSED) :]
    else:
        return None
    match = _PEER.fullmatch(peer)
    if match is None or (event.kind == "auth_failure" and not found):
        return Unreadable(_NAME, "no client address")
    event.client_ip = CANONICAL_IP[match["ip"] or ""]
    event.service = _SERVICES.get(match["server"].rpartition(":")[2])
    if match["login"] is not None:
        login = match["login"]
        event.account = account_name(
            login[:-1] if event.kind == "auth_failure" else login.partition('", upstream: ')[0]
        )
    return event


def _reason(status: str) -> AuthReason:
    low = status.lower()
    return next((reason for words, reason in _REASONS if words in low), "password")


FORMAT = Format(
    _NAME,
    Role.ACCESS,
    {"nginx": read},
    bare=(("12", read_line),),
    bare_start=_START,
    clients=(ClientText("user", r'failed.*login: "([^"]*)"'),),
)
