"""OpenSMTPD 6 and 7 (log_info calls of smtp_session.c, mta.c, mda.c): ``session smtp|mta|mda what key=value …``.

A session's first line alone names the client's address, and one of its own the account: all carry the session.
Commands, user names and envelope addresses are the client's; answers are the server's or the next host's.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, MAX_REASON, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Session
from schemas.event import Event
from schemas.kinds import AuthReason

_SESSION = re.compile(r"(?P<session>[0-9a-f]{16}) (?P<part>smtp|mta|mda) (?P<text>.*)", re.DOTALL)
_CONNECTED = re.compile(
    r"(?:event=)?connected address=(?:local|\[?(?:IPv6:)?(?P<ip>[0-9A-Fa-f:.]+)\]?)(?::[0-9]+)?(?: host=.*)?",
    re.DOTALL,
)
_LOGIN = re.compile(
    r"(?:event=)?authentication user=(?P<user>.*?)(?: address=\S+ host=\S+)? result=(?P<result>ok|permfail|tempfail)",
    re.DOTALL,
)
_FAILED = re.compile(
    r"(?:event=)?failed-command (?:address=(?P<ip>\S+) host=\S+ )?command=\"(?P<command>(?:[^\"\\]|\\.)*)\" "
    r"result=\"(?P<code>[45][0-9]{2}) (?:(?P<dsn>[45]\.[0-9]{1,3}\.[0-9]{1,3}):? )?(?P<text>.*)\"",
    re.DOTALL,
)
_MESSAGE = re.compile(
    r"(?:event=)?message (?:address=\S+ host=\S+ )?msgid=(?P<id>[0-9a-f]{8})(?: from=<.*> to=<.*>)? "
    r"size=(?P<size>[0-9]+)(?: ndest=[0-9]+)?(?: nrcpt=(?P<nrcpt>[0-9]+))? proto=\w+",
    re.DOTALL,
)
_QUOTED = r'(?:"(?:[^"\\]|\\.)*"@[^<>]*|[^<>]*)'
_DELIVERY = re.compile(
    rf"(?:event=)?delivery evpid=(?P<id>[0-9a-f]{{8}})[0-9a-f]{{8}} from=<(?P<sender>{_QUOTED})> "
    rf"to=<(?P<to>{_QUOTED})> (?:rcpt=<[^<>]*> )?(?P<rest>.*)",
    re.DOTALL,
)
_RESULT = re.compile(r".*? result=\"?(?P<result>Ok|TempFail|PermFail|LoopFail)\"? stat=\"?(?P<stat>.*?)\"?", re.DOTALL)
_ENVELOPE = re.compile(
    rf"(?:event=)?envelope evpid=(?P<id>[0-9a-f]{{8}})[0-9a-f]{{8}} from=<(?P<sender>{_QUOTED})> "
    rf"to=<(?P<to>{_QUOTED})>",
    re.DOTALL,
)
_RECIPIENT = re.compile(rf"RCPT TO: ?<(?P<to>{_QUOTED})>.*", re.DOTALL | re.IGNORECASE)
_DSN = re.compile(r"[245][0-9]{2}[ -](?P<dsn>[245]\.[0-9]{1,3}\.[0-9]{1,3})\b")
_STATUS = {"Ok": "sent", "TempFail": "deferred", "PermFail": "bounced", "LoopFail": "bounced"}
_REASONS: dict[str, AuthReason] = {"permfail": "password", "tempfail": "temporary"}


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of smtpd; ``None`` if it is not of OpenSMTPD."""
    match = _SESSION.fullmatch(f"{first}: {rest}" if rest else first)
    if match is None:
        return None
    event = Event("other", time, host, program, session=match["session"])
    text = match["text"]
    if match["part"] != "smtp":
        return _delivery(event, text)
    connected = _CONNECTED.fullmatch(text)
    if connected is not None:
        event.kind, event.client_ip = "connect", CANONICAL_IP[connected["ip"] or "127.0.0.1"]
        return event
    if text.startswith(("disconnected", "event=closed")):
        event.kind = "connect"
        return event
    login = _LOGIN.fullmatch(text)
    if login is not None:
        event.account = account_name(login["user"])
        event.kind = "auth_success" if login["result"] == "ok" else "auth_failure"
        event.reason = _REASONS.get(login["result"])
        return event
    message = _MESSAGE.fullmatch(text)
    if message is not None:
        event.queue_id, event.size, event.status = message["id"], int(message["size"]), "queued"
        event.nrcpt = int(message["nrcpt"]) if message["nrcpt"] else None
        return event
    envelope = _ENVELOPE.fullmatch(text)
    if envelope is not None:
        event.queue_id, event.sender, event.recipient = envelope["id"], envelope["sender"], envelope["to"]
        return event
    failed = _FAILED.fullmatch(text)
    return event if failed is None else _refusal(event, failed)


def _refusal(event: Event, failed: re.Match[str]) -> Event:
    code = failed["code"]
    event.client_ip = CANONICAL_IP[failed["ip"].strip("[]").removeprefix("IPv6:")] if failed["ip"] else None
    if failed["command"].upper().startswith("AUTH"):
        event.kind, event.reason = "auth_failure", _CODES.get(code, "temporary" if code < "500" else "mechanism")
        if failed.string.count('" result="') > 1:  # the command holds one, too
            event.reason = "password"
        if event.reason == "password":
            event.told_before()  # by the line before this one
        return event
    event.kind, event.status = "reject", code
    event.dsn, event.reason = failed["dsn"], failed["text"][:MAX_REASON]
    recipient = _RECIPIENT.fullmatch(failed["command"].replace('\\"', '"'))
    event.recipient = recipient["to"] if recipient else None
    return event


_CODES: dict[str, AuthReason] = {"535": "password", "501": "aborted"}


def _delivery(event: Event, text: str) -> Event:
    match = _DELIVERY.fullmatch(text)
    result = _RESULT.fullmatch(match["rest"]) if match else None
    if match is None or result is None:
        return event
    event.kind, event.status = "delivery", _STATUS[result["result"]]
    event.queue_id, event.sender, event.recipient = match["id"], match["sender"], match["to"]
    event.reason = result["stat"][:MAX_REASON]
    found = _DSN.match(result["stat"])
    event.dsn = found["dsn"] if found else None
    return event


FORMAT = Format(
    "opensmtpd",
    Role.MTA,
    {"smtpd": read},
    session=Session.SHARED,
    clients=(
        ClientText("user", r"user=(\S+) result=(?:perm|temp)"),
        ClientText("command", r'command="AUTH \S+ ([^"]*)"'),
        ClientText("recipient in a command", r"TO:<([^<>]*)>|recipient: <([^<>]*)>"),
        ClientText("sender", r"from=<([^<>]*)>", Escape.QUOTED),
        ClientText("recipient", r"(?:to|rcpt)=<([^<>-]+)>", Escape.QUOTED),
        ClientText("host by DNS", r"host=<?([\w.]+)", Escape.HOST),
        ClientText("answer of another server", r'stat="([^"]*)"'),
    ),
)
