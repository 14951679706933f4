"""Sendmail 8 (sm_syslog calls of srvrsmtp.c, headers.c, deliver.c, parseaddr.c).

The line of arrival (``from=``) names no account; the ``AUTH=server`` line of the same process does, so both carry the
process id as ``session``. What stands in quotes is the client's; of what else a client can write, only that is read
which cannot be told in two ways.

The sending pool of a delivery is its mailer, if it delivers to another host (``relay=``) and is none of those that come
with sendmail (cf/mailer).
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, MAX_REASON, account_name, masked, pool_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Session, Unreadable
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "sendmail"
_ID = re.compile(r"[0-9A-Za-z]{12,16}")
_RELAY = r"[^\s\[\]]* ?\[(?:IPv6:)?(?P<ip>[0-9A-Fa-f:.]+)\](?: \(may be forged\))?"
_AT_END = re.compile(r"\[(?:IPv6:)?(?P<ip>[0-9A-Fa-f:.]+)\](?: \(may be forged\))?\Z")
_LOGIN = re.compile(r".*, authid=(?P<user>[^,]+), mech=(?P<method>[\w-]+), bits=[0-9]+", re.DOTALL)
_FAILURE = re.compile(
    r"AUTH failure \((?P<method>[A-Za-z0-9_-]{1,20})\): [^()]*\((?P<code>-?[0-9]+)\)(?P<detail>.*)", re.DOTALL
)
_LOGGED_USER = 64
_ARRIVAL = re.compile(r", size=(?P<size>[0-9]+), class=-?[0-9]+, nrcpts=(?P<nrcpt>[0-9]+)(?=, |\Z)")
_PROTO = re.compile(r"(?P<proto>[A-Z0-9]+)(?:, daemon=(?P<daemon>[\w.-]+))?(?P<more>, .*)?", re.DOTALL)
_SERVICES = {"MSA": "submission", "MTA": "smtp", "TLSMTA": "smtps", "SMTPS": "smtps", "MTA-SSL": "smtps"}
_DELIVERY = re.compile(r"(?:, ctladdr=(?P<ctladdr>.*?))?, delay=[0-9+:]+(?=, )", re.DOTALL)
_MAILER = re.compile(r"(?:, xdelay=[0-9+:]+)?, mailer=(?P<name>[\w-]+)(?:, pri=[0-9]+)?, relay=(?!local(?:,|\Z))")
_STOCK = frozenset(
    ("smtp", "esmtp", "smtp8", "dsmtp", "relay", "local", "prog", "procmail", "lmtp", "cyrus", "cyrusv2", "cyrusbb",
     "uucp", "uucp-old", "uucp-new", "uucp-dom", "uucp-uudom", "suucp", "usenet", "fax", "mail11", "phquery", "qpage",
     "pop", "error")
)  # fmt: skip
_DSN = re.compile(r", dsn=(?P<dsn>[245]\.[0-9]{1,3}\.[0-9]{1,3})(?=, )")
_RULESET = re.compile(r"ruleset=(?P<name>\w+), arg1=(?P<arg>.*)", re.DOTALL)
_VERDICT = re.compile(rf", relay={_RELAY}, (?P<verb>reject|discard|quarantine)(?:=(?P<text>.*))?", re.DOTALL)
_ANSWER = re.compile(r"(?P<code>[245][0-9]{2}) (?:(?P<dsn>[245]\.[0-9]{1,3}\.[0-9]{1,3}) )?(?P<text>.*)", re.DOTALL)
_ATTACK = re.compile(rf"{_RELAY}: possible SMTP attack: command=AUTH, count=[0-9]+")
_MILTER = re.compile(
    r"(?:Milter: (?:(?P<what>to|from)=(?P<address>.*?)|\w+)|[Mm]ilter=.*?), reject=(?P<code>[245][0-9]{2}) "
    r"(?:(?P<dsn>[245]\.[0-9]{1,3}\.[0-9]{1,3}) )?(?P<text>.*)",
    re.DOTALL,
)
_UNKNOWN = re.compile(r"(?P<recipient><[^<>\"\s]*>)\.\.\. (?P<text>User unknown.*)", re.DOTALL)
_CONNECTS = (
    re.compile(rf"{_RELAY} did not issue MAIL/EXPN/VRFY/ETRN during connection to [\w.-]+"),
    re.compile(rf"lost input channel from {_RELAY} to [\w.-]+ after .*", re.DOTALL),
    re.compile(rf"timeout waiting for input from {_RELAY} during .*", re.DOTALL),
)
_EARLY = re.compile(rf"rejecting commands from {_RELAY} due to pre-greeting traffic after [0-9]+ seconds")


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of sendmail; ``service`` is the process id, if the line has one."""
    event = Event("other", time, host, program)
    text = rest
    if first != "NOQUEUE":
        if _ID.fullmatch(first) and rest:
            event.queue_id = first
        else:
            text = f"{first}: {rest}" if rest else first
    if text.startswith("from="):
        return _arrival(event, text, service)
    if text.startswith("to="):
        return _delivery(event, text)
    if text.startswith("AUTH"):
        return _authentication(event, text, service)
    if text.startswith("ruleset="):
        return _ruleset(event, text)
    return _message(event, text)


def _arrival(event: Event, text: str, pid: str | None) -> Event | Unreadable:
    fields = _ARRIVAL.search(masked(text))
    if fields is None:
        return Unreadable(_NAME, "from= is not followed by size, class and nrcpts")
    sender = text[5 : fields.start()]
    event.sender = sender[1:-1] if sender.startswith("<") and sender.endswith(">") else sender
    event.size, event.nrcpt, event.status = int(fields["size"]), int(fields["nrcpt"]), "queued"
    _, found, right = text.rpartition(", proto=")
    proto = _PROTO.fullmatch(right) if found else None
    relay = _AT_END.search(text)
    event.client_ip = CANONICAL_IP[relay["ip"]] if relay else None
    if proto is None or relay is None:
        return event
    event.service = _SERVICES.get((proto["daemon"] or "").upper())
    if proto["proto"] in ("ESMTPA", "ESMTPSA") and event.nrcpt > 0:
        event.kind, event.status, event.session = "submission", None, pid
    return event


def _delivery(event: Event, text: str) -> Event:
    plain = masked(text)
    place = _DELIVERY.search(plain)
    if place is None:
        return event  # the first of several lines of a long one
    names = plain[3 : place.start()].split(",")
    event.kind = "delivery"
    event.recipient = text[3 : 3 + len(names[0])].removeprefix("<").removesuffix(">")
    event.nrcpt = len(names) if len(names) > 1 else None
    dsn = _DSN.search(plain, place.end())
    start = plain.find(", stat=", dsn.start() if dsn else place.end())
    stat = text[start + 7 :] if start >= 0 else ""
    event.dsn, event.reason = dsn["dsn"] if dsn else None, stat[:MAX_REASON] or None
    event.status = _status(stat, event.dsn)
    mailer = _MAILER.match(plain, place.end())
    event.pool = pool_name(mailer["name"]) if mailer and mailer["name"] not in _STOCK else None
    return event


def _status(stat: str, dsn: str | None) -> str:
    if stat.startswith(("Deferred", "queued")) or (dsn or "").startswith("4"):
        return "deferred"
    return "sent" if stat.startswith("Sent") or (dsn or "").startswith("2") else "bounced"


def _authentication(event: Event, text: str, pid: str | None) -> Event | Unreadable:
    if text.startswith("AUTH=server, relay="):
        login = _LOGIN.fullmatch(text)
        if login is None:
            return event
        relay = _AT_END.search(text, 0, login.start("user") - 9)
        event.kind, event.account, event.method = "auth_success", account_name(login["user"]), login["method"]
        event.client_ip, event.session = CANONICAL_IP[relay["ip"]] if relay else None, pid
        return event
    if not text.startswith("AUTH failure ("):
        return event
    event.kind, event.reason = "auth_failure", "mechanism"
    left, _, _ = text.rpartition(", relay=")
    relay = _AT_END.search(text, len(left))
    event.client_ip = CANONICAL_IP[relay["ip"]] if relay else None
    failure = _FAILURE.fullmatch(left)
    if failure is None or (left.count(" (-") > 1 and not failure["detail"].startswith(" SASL(")):
        return event
    event.method, event.reason = failure["method"], _REASONS.get(int(failure["code"]), "temporary")
    said, _, user = failure["detail"].partition(", user=")
    event.account = account_name(user) if len(user) < _LOGGED_USER and "user: " not in said else None
    return event


_REASONS: dict[int, AuthReason] = {  # of sasl.h
    -4: "mechanism", -5: "aborted", -7: "aborted", -9: "password", -13: "password", -14: "policy", -15: "mechanism",
    -16: "mechanism", -18: "disabled", -19: "disabled", -20: "unknown_user",
}  # fmt: skip


def _ruleset(event: Event, text: str) -> Event:
    ruleset = _RULESET.fullmatch(text)
    if ruleset is None:
        return event
    event.kind = "reject"
    plain = masked(text)
    places = list(_VERDICT.finditer(plain)) if plain.count(", relay=") == 1 else []
    if not places:
        return event
    place = places[0]
    event.client_ip = CANONICAL_IP[place["ip"]]
    if place["verb"] != "reject":
        event.kind, event.reason = "other" if place["verb"] == "quarantine" else "reject", place["verb"]
        return event
    answer = _ANSWER.fullmatch(text, place.start("text"))
    if answer is not None:
        event.status, event.dsn, event.reason = answer["code"], answer["dsn"], answer["text"][:MAX_REASON]
    argument = text[ruleset.start("arg") : place.start()].partition(", arg2=")[0]
    address = argument[1:-1] if argument.startswith("<") and argument.endswith(">") else argument
    if ruleset["name"] == "check_rcpt":
        event.recipient = address
    elif ruleset["name"] == "check_mail":
        event.sender = address
    return event


def _message(event: Event, text: str) -> Event:
    attack = _ATTACK.fullmatch(text)
    if attack is not None:
        event.kind, event.reason, event.client_ip = "auth_failure", "unknown", CANONICAL_IP[attack["ip"]]
        return event
    early = _EARLY.fullmatch(text)
    if early is not None:
        event.kind, event.client_ip, event.reason = "reject", CANONICAL_IP[early["ip"]], "pre-greeting traffic"
        return event
    milter = _MILTER.fullmatch(masked(text)) if text.startswith(("Milter: ", "Milter=", "milter=")) else None
    if milter is not None:
        event.kind, event.status, event.dsn = "reject", milter["code"], milter["dsn"]
        event.reason = text[milter.start("text") :][:MAX_REASON]
        if milter["what"]:
            address = text[milter.start("address") : milter.end("address")].removeprefix("<").removesuffix(">")
            event.recipient, event.sender = (address, None) if milter["what"] == "to" else (None, address)
        return event
    unknown = _UNKNOWN.fullmatch(text)
    if unknown is not None:
        event.kind, event.recipient, event.reason = "reject", unknown["recipient"][1:-1], unknown["text"][:MAX_REASON]
        return event
    for pattern in _CONNECTS:
        match = pattern.fullmatch(text)
        if match is not None:
            event.kind, event.client_ip = "connect", CANONICAL_IP[match["ip"]]
            break
    return event


TAGS = ("sendmail", "sm-mta", "sm-msp-queue", "sm-client", "sm-acceptingconnections", "sendmail-client")
FORMAT = Format(
    _NAME,
    Role.MTA,
    dict.fromkeys(TAGS, read),
    roles=dict.fromkeys(("sm-msp-queue", "sm-client", "sendmail-client"), Role.QUEUE),
    session=Session.SHARED,
    told_pid=True,
    clients=(
        ClientText("user", r"AUTH failure .*user=([^,\s]+),"),
        ClientText("mechanism", r"AUTH failure \(([^()]*)\)", Escape.WORD),
        ClientText("sender", r" from=<?([^<>,\s]+)>?,", Escape.QUOTED),
        ClientText("recipient", r" to=<?([^<>,\s]+)>?,|>,<([^<>]*)>,", Escape.QUOTED),
        ClientText("message id", r"msgid=<([^<>]*)>"),
        ClientText("address refused", r"arg1=<([^<>]*)>|\d <([^<>]*)>\.\.\.|: <([^<>]*)>\.\.\.", Escape.QUOTED),
        ClientText("host by DNS", r"(?:relay=|from |: )([a-z][\w.]+\.example(?:\.net)?)\.? \[", Escape.HOST),
        ClientText("answer of another server", r"stat=(.*)"),
    ),
)
