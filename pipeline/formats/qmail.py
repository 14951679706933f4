"""qmail, netqmail and their relatives: qmail-send (multilog, splogger), vpopmail's vchkpw, rblsmtpd, Spamcontrol lines.

qmail-send numbers messages by inode (``msg 123``) and deliveries by slot (``delivery 1``): a delivery's outcome names
neither message nor recipient. vchkpw writes ``what user:address``; the user may hold any character.
"""

import re
from datetime import UTC, datetime, timedelta

from pipeline.formats.reading.fields import CANONICAL_IP, MAX_REASON, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event
from schemas.kinds import AuthReason

_EPOCH = re.compile(r"(?:[0-9]{9,10}\.[0-9]{6} )?(?P<text>.*)", re.DOTALL)
_TAI = re.compile(r"@40000000(?P<seconds>[0-9a-f]{8})(?P<nano>[0-9a-f]{8}) (?P<text>.*)", re.DOTALL)
_LEAP = 10  # seconds by which a TAI64 label of 1970 is ahead of UTC in daemontools
_INFO = re.compile(
    r"info msg (?P<id>[0-9]+): bytes (?P<size>[0-9]+) from <(?P<sender>.*)> qp [0-9]+ uid [0-9]+", re.DOTALL
)
_START = re.compile(r"starting delivery [0-9]+: msg (?P<id>[0-9]+) to (?:local|remote) (?P<to>.*)", re.DOTALL)
_DELIVERY = re.compile(r"delivery [0-9]+: (?P<status>success|failure|deferral): (?P<text>.*)", re.DOTALL)
_MESSAGE = re.compile(r"(?P<what>new|end) msg (?P<id>[0-9]+)")
_STATUS = {"success": "sent", "failure": "bounced", "deferral": "deferred"}
_RBL = re.compile(
    r"(?:rblsmtpd: )?(?P<ip>[0-9A-Fa-f:.]+) pid [0-9]+(?: [\w.-]+)?: ?(?P<code>[45][0-9]{2}) (?P<text>.*)", re.DOTALL
)
_BAD = re.compile(r"badiprbl: ip (?P<ip>[0-9A-Fa-f:.]+) (?P<text>.*)", re.DOTALL)
_PLESK = re.compile(
    r"(?:smtp_auth: )?(?:FAILED: (?P<failed>.*) - (?P<why>[\w ]+) from |SMTP user (?P<user>.*?)(?: :)? logged in from )"
    r"\S* ?\[(?P<ip>[0-9A-Fa-f:.]+)\]",
    re.DOTALL,
)
_VCHKPW = re.compile(r"vchkpw(?:-(?P<service>[\w-]+))?: (?:\((?P<method>[\w-]+)\) )?(?P<text>.*)", re.DOTALL)
_CLIENT = re.compile(r":(?P<ip>[0-9.]*|[0-9A-Fa-f:.]+)\Z")
_LONGEST_IP = 48
_SERVICES = {"smtp": "smtp", "submission": "submission", "smtps": "smtps", "pop3": "pop3", "pop3s": "pop3",
             "imap": "imap", "imaps": "imap", "webmail": "webmail"}  # fmt: skip
_SUCCESS = "login success "
_OUTCOMES: tuple[tuple[str, AuthReason], ...] = (
    ("password fail ", "password"),
    ("system password fail ", "password"),
    ("null password given ", "password"),
    ("vpopmail user not found ", "unknown_user"),
    ("system user not found ", "unknown_user"),
    ("null user name given ", "unknown_user"),
    ("access denied ", "policy"),
    ("login disabled ", "disabled"),
)
_CONTROL = re.compile(
    r"(?P<what>Accept|Reject)::(?P<area>\w+)::(?P<detail>[\w-]+)(?:::[\w-]+)* (?:P:(?P<proto>\w+) )?"
    r"S:(?P<ip>[0-9A-Fa-f:.]+):(?P<rest>.*)",
    re.DOTALL,
)
_USER = re.compile(r" [?']?(?:AUTH:|\?~ ?)?'(?P<user>[^'\s]+)'\Z")
_NAMED = re.compile(r".* F:<?(?P<sender>[^<>\s]*)>? T:<?(?P<to>[^<>\s]*)>?(?P<tail>.*)", re.DOTALL)


def read_send(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of qmail-send, or of what shares its splogger."""
    match = _EPOCH.fullmatch(f"{first}: {rest}" if rest else first)
    event = Event("other", time, host, program)
    return event if match is None else _send(event, match["text"]) or event


def read_vchkpw(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of vpopmail."""
    event = Event("other", time, host, program)
    match = _VCHKPW.fullmatch(f"{first}: {rest}" if rest else first)
    client = _CLIENT.search(match["text"], max(0, len(match["text"]) - _LONGEST_IP)) if match else None
    if match is None or client is None:
        return event
    event.service, event.method = _SERVICES.get(match["service"] or ""), match["method"]
    event.client_ip, text = CANONICAL_IP[client["ip"]], match["text"][: client.start()]
    if ":" in client["ip"]:
        event.client_ip = None  # the user's name may end in a part of it
    if text.startswith(_SUCCESS):
        event.kind, event.account = "auth_success", account_name(text.removeprefix(_SUCCESS))
        return event
    for words, reason in _OUTCOMES:
        if text.startswith(words):
            event.kind, event.reason = "auth_failure", reason
            user = text.removeprefix(words)
            if user.startswith("(pass: '"):
                user = user.partition("') ")[2] if user.count("') ") == 1 else ""
            event.account = account_name(user) if event.client_ip or not client["ip"] else None
            break
    return event


def read_smtp_auth(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of Plesk's smtp_auth, which stands between qmail-smtpd and the password check."""
    event = Event("other", time, host, program)
    match = _PLESK.fullmatch(f"{first}: {rest}" if rest else first)
    if match is None:
        return event
    event.client_ip = CANONICAL_IP[match["ip"]]
    if match["why"] is None:
        event.kind, event.account = "auth_success", account_name(match["user"])
        return event
    event.kind, event.account = "auth_failure", account_name(match["failed"])
    event.reason = _WHY.get(match["why"], "temporary")
    return event


_WHY: dict[str, AuthReason] = {
    "password incorrect": "password",
    "no such user": "unknown_user",
    "user not found": "unknown_user",
    "account disabled": "disabled",
}


def read_smtpd(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of qmail-smtpd with Spamcontrol, or of rblsmtpd."""
    match = _EPOCH.fullmatch(f"{first}: {rest}" if rest else first)
    event = Event("other", time, host, program)
    return event if match is None else _smtpd(event, match["text"]) or event


def read_bare(line: str, stamps: Stamps) -> Outcome:
    """A line of multilog, ``@`` and a TAI64N label."""
    match = _TAI.fullmatch(line)
    if match is None:
        return None
    seconds, micro = int(match["seconds"], 16) - _LEAP, min(int(match["nano"], 16) // 1000, 999_999)
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds, microseconds=micro)
    text = match["text"]
    if text.startswith(("tcpserver: ", "qmail-smtpd: ")):
        event = Event("other", time, "", text.partition(":")[0])
        return _smtpd(event, text.partition(": ")[2]) or event
    event = Event("other", time, "", "qmail-send")
    return _send(event, text) or _smtpd(event, text)


def _send(event: Event, text: str) -> Event | None:
    info = _INFO.fullmatch(text)
    if info is not None:
        event.queue_id, event.size, event.sender = info["id"], int(info["size"][:18]), info["sender"]
        event.status = "queued"
        return event
    start = _START.fullmatch(text)
    if start is not None:
        event.queue_id, event.recipient = start["id"], start["to"]
        return event
    delivery = _DELIVERY.fullmatch(text)
    if delivery is not None:
        event.kind, event.status = "delivery", _STATUS[delivery["status"]]
        event.reason = delivery["text"][:MAX_REASON]
        return event
    message = _MESSAGE.fullmatch(text)
    if message is not None:
        event.queue_id, event.status = message["id"], "removed" if message["what"] == "end" else None
        return event
    if text.startswith("status: "):
        return event
    return _smtpd(event, text) if text.startswith(("rblsmtpd: ", "badiprbl: ")) else None


def _smtpd(event: Event, text: str) -> Event | None:
    rbl = _RBL.fullmatch(text)
    if rbl is not None:
        event.kind, event.client_ip, event.status = "reject", CANONICAL_IP[rbl["ip"]], rbl["code"]
        event.reason = rbl["text"][:MAX_REASON]
        return event
    bad = _BAD.fullmatch(text)
    if bad is not None:
        event.kind, event.client_ip, event.reason = "reject", CANONICAL_IP[bad["ip"]], bad["text"][:MAX_REASON]
        return event
    control = _CONTROL.fullmatch(text.removeprefix("qmail-smtpd: "))
    if control is None:
        return None
    event.client_ip, rest = CANONICAL_IP[control["ip"]], control["rest"]
    named = _NAMED.fullmatch(rest)
    user = _USER.search(rest)
    if control["area"] == "AUTH":
        event.account = account_name(user["user"]) if user and rest.count(" '") == 1 else None
        refused = control["what"] == "Reject"
        event.kind, event.reason = ("auth_failure", "password") if refused else ("auth_success", None)
        return event
    if named is not None:
        event.sender, event.recipient = named["sender"], named["to"] or None
    if control["what"] == "Reject":
        event.kind, event.reason = "reject", f"{control['area']}::{control['detail']}"
    return event


_READERS = {
    "qmail": read_send,
    "qmail-send": read_send,
    "vpopmail": read_vchkpw,
    "vchkpw": read_vchkpw,
    "smtp_auth": read_smtp_auth,
    "qmail-smtpd": read_smtpd,
    "rblsmtpd": read_smtpd,
}
FORMAT = Format(
    "qmail",
    Role.MTA,
    _READERS,
    roles={"vpopmail": Role.SASL, "vchkpw": Role.SASL},
    writes=(*_READERS, "tcpserver"),
    bare=(("@", read_bare),),
    clients=(
        ClientText("sender", r" from <([^<>]*)>|F:(\S+@\S+)"),
        ClientText("recipient", r"to remote (\S+)| T:(\S+)$", Escape.WORD),
        ClientText("answer of another server", r"(?:success|failure|deferral): (.*)/", Escape.WORD),
        ClientText(
            "user", r"(?:fail|found|given|denied|'\)) (\S+@[\w.]+):\d|Reject::AUTH::login .* '(\S+)'|FAILED: (\S+) - "
        ),
        ClientText("password", r"pass: '([^']*)'"),
        ClientText("HELO", r" H:(\S+)", Escape.WORD),
        ClientText("host by DNS", r"S:[\d.]+:([\w.]+)", Escape.HOST),
    ),
)
