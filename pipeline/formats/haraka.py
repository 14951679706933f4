"""Haraka (connection.js, logger.js): ``[LEVEL] [connection.transaction] [origin] text key=value …``.

Haraka names no account unless an auth plugin does, and no refused login but as the last answer of a session. All
lines of a connection carry its UUID.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, MAX_REASON, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Session
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event

_LINE = re.compile(
    r"(?:(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z?) )?\[(?P<level>[A-Z]+)\] "
    r"\[(?P<session>-|[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12})(?P<part>(?:\.[0-9]+)*)\] "
    r"\[(?P<origin>[\w./-]+)\] {1,2}(?P<text>.*)",
    re.DOTALL,
)
_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^ ]+)'
_CONNECT = re.compile(r"connect ip=(?P<ip>[0-9A-Fa-f:.]+) .*", re.DOTALL)
_DISCONNECT = re.compile(
    rf"disconnect ip=(?P<ip>[0-9A-Fa-f:.]+) rdns={_VALUE} helo={_VALUE} (?:relay=[YN] )?.*? "
    r'lr="?(?P<code>[245][0-9]{2})? ?(?P<text>(?:[^"\\]|\\.)*)"? time=[0-9.]+',
    re.DOTALL,
)
_LOGIN = re.compile(r'AUTH user="(?P<user>[^"]*)"(?: host="[^"]*")? success=(?P<success>true|false)')
_MESSAGE = re.compile(
    rf"message mid=(?P<mid>{_VALUE}) size=(?P<size>[0-9]+) rcpts=(?P<nrcpt>[0-9]+)/[0-9]+/[0-9]+ .*", re.DOTALL
)
_ADDRESS = r'<(?P<address>"(?:[^"\\]|\\.)*"@[^<>\s]*|[^<>\s]*)>'
_ENVELOPE = re.compile(
    rf"(?P<what>sender|recipient) {_ADDRESS} code=(?P<code>[A-Z]+) msg=(?P<text>{_VALUE})(?: sender=.*)?", re.DOTALL
)
_DENIED = {"DENY": "550", "DENYDISCONNECT": "550", "DENYSOFT": "450", "DENYSOFTDISCONNECT": "450"}
_DELIVERED = re.compile(
    rf'delivered file=\S+ domain="?(?P<domain>[^\s"]+)"? .*? response=(?P<text>{_VALUE}) .*', re.DOTALL
)
_FAILED = re.compile(rf"recipient {_ADDRESS} (?P<what>deferred|rejected): (?P<text>.*)", re.DOTALL)


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog."""
    match = _LINE.fullmatch(f"{first}: {rest}" if rest else first)
    return Event("other", time, host, program) if match is None else _text(Event("other", time, host, program), match)


def read_bare(line: str, stamps: Stamps) -> Outcome:
    """A line of standard output with ``timestamps`` on; they name neither host nor program."""
    match = _LINE.fullmatch(line)
    time = stamps.iso(match["time"]) if match is not None and match["time"] else None
    return None if match is None or time is None else _text(Event("other", time, "", "haraka"), match)


def _text(event: Event, match: re.Match[str]) -> Event:
    text = match["text"]
    if match["session"] == "-":
        return event
    event.session = match["session"]
    if match["part"]:
        event.queue_id = match["session"] + match["part"]
    connect = _CONNECT.fullmatch(text)
    if connect is not None:
        event.kind, event.client_ip = "connect", CANONICAL_IP[connect["ip"]]
        return event
    if text.startswith("disconnect ip="):
        return _disconnect(event, text)
    login = _LOGIN.fullmatch(text)
    if login is not None:
        event.account, success = account_name(login["user"]), login["success"] == "true"
        event.kind, event.reason = ("auth_success", None) if success else ("auth_failure", "password")
        return event
    if text.startswith("message mid="):
        return _message(event, text)
    return _envelope(event, text)


def _disconnect(event: Event, text: str) -> Event:
    match = _DISCONNECT.fullmatch(text)
    event.kind, event.queue_id = "connect", None
    if match is None:
        return event
    event.client_ip = CANONICAL_IP[match["ip"]]
    if match["code"] == "535":
        event.kind, event.reason = "auth_failure", "password"
    return event


def _message(event: Event, text: str) -> Event:
    match = _MESSAGE.fullmatch(text)
    if match is not None:
        event.message_id = match["mid"].strip('"').removeprefix("<").removesuffix(">") or None
        event.size, event.nrcpt, event.status = int(match["size"]), int(match["nrcpt"]), "queued"
    return event


def _envelope(event: Event, text: str) -> Event:
    match = _ENVELOPE.fullmatch(text)
    if match is not None:
        if match["what"] == "sender":
            event.sender = match["address"]
        else:
            event.recipient = match["address"]
        if match["code"] in _DENIED:
            event.kind, event.status = "reject", _DENIED[match["code"]]
            event.reason = match["text"].strip('"')[:MAX_REASON] or None
        return event
    failed = _FAILED.fullmatch(text)
    if failed is not None:
        event.kind, event.recipient = "delivery", failed["address"]
        event.status = "deferred" if failed["what"] == "deferred" else "bounced"
        event.reason = failed["text"][:MAX_REASON]
        return event
    delivered = _DELIVERED.fullmatch(text)
    if delivered is not None:
        event.kind, event.status, event.reason = "delivery", "sent", delivered["text"].strip('"')[:MAX_REASON]
    return event


FORMAT = Format(
    "haraka",
    Role.MTA,
    {"haraka": read},
    session=Session.SHARED,
    bare=(("2", read_bare),),
    clients=(
        ClientText("sender", r"sender <([^<>]*)>|sender=(\S+)", Escape.QUOTED),
        ClientText("recipient", r"recipient <([^<>]*)>", Escape.QUOTED),
        ClientText("message id", r"mid=<([^<>]*)>", Escape.WORD),
        ClientText("HELO", r"helo=(\S+)", Escape.WORD),
        ClientText("last answer", r'lr="[^"]* ([^"\s]+)"', Escape.BACKSLASH),
        ClientText("user", r'AUTH user="([^"]*)"', Escape.BACKSLASH),
        ClientText("answer of another server", r'response="([^"]*)"', Escape.BACKSLASH),
        ClientText("refusal of another server", r"(?:rejected|deferred): (.*)"),
    ),
)
