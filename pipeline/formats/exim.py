"""Exim 4: main log and reject log, own files or through syslog (log_write calls of smtp_in.c, receive.c, deliver.c).

A line is ``time [zone] [[pid]] [message id] text``. Exim checks the grammar of addresses, so a quoted local part ends
where its quotes end. Fields are read from the left up to the first that holds a client's text.

The sending pool of a delivery is its transport: of ``T=remote_smtp_NAME`` it is ``NAME``, of any other the whole name,
if the line names the remote host (``H=name [address]``). ``remote_smtp``, ``remote_smtp_smarthost``, ``smtp`` and
whatever has ``lmtp`` in its name are none.
"""

import re
from datetime import datetime

from pipeline.formats.exim_host import forged, host_at, recipients
from pipeline.formats.reading.fields import MAX_REASON, account_name, pool_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Unreadable
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "exim"
_ID = r"[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{11}-[0-9A-Za-z]{4})"
_LINE = re.compile(
    r"(?:(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?)"
    r"(?: (?P<zone>[+-][0-9]{4}))? )?(?:\[[0-9]+\] )?"
    rf"(?:(?P<id>{_ID}) )?(?P<text>.*)",
    re.DOTALL,
)
_ADDRESS = r'(?:"(?:[^"\\]|\\.)*"(?:@[^\s<>]*)?|[^\s<>]+)'
_ARRIVAL = re.compile(rf"(?:<=|\(=) (?P<sender><>|{_ADDRESS})(?: R=\S+)?(?: DS)?(?P<host> H=)?", re.DOTALL)
_FIELDS = re.compile(  # between host and size; DN and U hold a client's text
    r"(?: TFO\*?)?(?: Ci=\S+)?(?: U=(?P<ident>\S+))?(?: P=(?P<proto>[\w-]+))?(?: L[*.]?-?)?(?: X=\S+)?(?: CV=\S+)?"
    r'(?P<tls>(?: DN="[^"]*")?(?: SNI=\S*)?)(?: A=(?P<auth>[^\s:"]+)(?::(?P<user>[^\s":]+)(?::\S*)?)?)?(?: PRDR)?'
    r"(?: PRX=\S+)?(?: K)? S=(?P<size>[0-9]+)"
)
_ENVELOPE = re.compile(  # of a reject, after the host
    r'(?: Ci=\S+)?(?: U=\S+)?(?: X=\S+)?(?: CV=\S+)?(?P<tls>(?: DN="[^"]*")?(?: SNI=\S*)?)'
    rf'(?: F=<(?P<sender>(?:{_ADDRESS})?)>)?(?: A=(?P<auth>[^\s:"]+)(?::(?P<user>[^\s":]+))?)?'
    r" (?P<soft>temporarily )?rejected (?P<what>.*)",
    re.DOTALL,
)
_RCPT = re.compile(rf"RCPT <(?P<recipient>{_ADDRESS})>(?P<rest>.*)", re.DOTALL)
_VERIFY = re.compile(rf" sender verify (?:fail|defer) for <(?P<sender>{_ADDRESS})>", re.DOTALL)
_DELIVERY = re.compile(
    rf"(?P<what>[=*-]>|>>|\*\*|==) (?P<to>[|/][^<>]*?(?= <)|>?{_ADDRESS})(?: \([^()]*\))?"
    rf"(?: <(?P<parent>{_ADDRESS}|)>)?(?: F=<(?P<sender>(?:{_ADDRESS})?)>)?(?=[ :]|\Z)(?P<rest>.*)",
    re.DOTALL,
)
_TRANSPORT = re.compile(  # right after the address, before what the next host said
    rf"(?: Q=\S+)?(?: P=<(?:{_ADDRESS})?>)?(?: R=\w+)? T=(?P<name>[\w-]+)(?: ST=\w+)?(?: S=[0-9]+)?"
    r"(?: defer \(-?[0-9]+\))?(?P<remote> H=\S+ \[)?"
)
_MAIN = ("remote_smtp", "remote_smtp_smarthost", "smtp")  # transports of the usual configurations
_STATUS = {"=>": "sent", "->": "sent", ">>": "sent", "*>": "sent", "**": "bounced", "==": "deferred"}
_DSN = re.compile(r"\b[245][0-9]{2}[ -](?P<dsn>[245]\.[0-9]{1,3}\.[0-9]{1,3})\b")
_TOOK = re.compile(r" DT=[0-9.dhms]+\Z")
_CONFIRMED = re.compile(r' C="(.*)"')
_FAILED = re.compile(r"(?P<auth>[^\s:]+) authenticator failed for (?:H=)?")
_ANSWER = re.compile(r"(?: (?:U|Ci|X)=\S+)*: (?P<code>[0-9]{3}) (?P<text>.*)", re.DOTALL)
_SET_ID = " (set_id="
_REFUSED_AUTH = re.compile(
    r'SMTP protocol error in "AUTH\b.*(?P<why>mechanism not supported|AUTH command used when not advertised)', re.DOTALL
)
_MECHANISMS = ("plain", "login", "cram", "digest", "ntlm", "gssapi", "xoauth2", "oauthbearer")
_REJECTS = (
    "rejected ", "refused connection from ", "temporarily rejected ", "temporarily refused connection from ",
    "unqualified ", "too many recipients: ", "SMTP protocol synchronization error ", "SMTP call from ",
    "Connection from ",
)  # fmt: skip
_CONNECTS = (
    "SMTP connection from ", "TLS error on connection from ", "SMTP command timeout on ", "SMTP data timeout ",
    "unexpected disconnection while reading SMTP command from ", "no MAIL in ", "unexpected EOF while ",
)  # fmt: skip
_FROM = re.compile(r"\A[^\"<]*? from (?:H=)?")
_OTHERS = (
    "no host name found for ", "no IP address found for ", "SMTP syntax error in ", "SMTP protocol error in ",
    "SMTP protocol violation", "exim 4.", "Start queue run: pid=", "End queue run: pid=",
)  # fmt: skip


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog, with or without Exim's own time stamp."""
    match = _LINE.fullmatch(f"{first}: {rest}" if rest else first)
    event = Event("other", time, host, program)
    return event if match is None else _text(event, match) or event


def read_bare(line: str, stamps: Stamps) -> Outcome:
    """A line of Exim's own log files; they name neither host nor program."""
    match = _LINE.fullmatch(line)
    if match is None or match["time"] is None:
        return None
    time = stamps.iso(match["time"] + (match["zone"] or ""))
    if time is None:
        return Unreadable(_NAME, "there is no such date or time") if match["id"] else None
    return _text(Event("other", time, "", "exim"), match)


def _text(event: Event, match: re.Match[str]) -> Outcome:
    event.queue_id, text = match["id"], match["text"]
    start = text[:3]
    if event.queue_id is not None:
        if start in ("<= ", "(= "):
            return _arrival(event, text)
        if text[:2] in _STATUS and text[2:3] == " ":
            return _delivery(event, text)
        if text == "Completed" or text.startswith("Completed "):
            event.status = "removed"
            return event
    if start in ("H=(", "H=[") or text.startswith(("H=", "DS H=")):
        return _refusal(event, text)
    failed = _FAILED.match(text)
    if failed is not None:
        return _login(event, text, failed)
    if text.startswith(_REJECTS):
        event.kind, event.reason = "reject", text[:MAX_REASON]
        return _with_host(event, text)
    if text.startswith(_CONNECTS):
        event.kind = "connect"
        return _with_host(event, text)
    refused = _REFUSED_AUTH.fullmatch(text) if text.startswith("SMTP protocol error in ") else None
    if refused is not None:
        event.kind = "auth_failure"
        event.reason = "mechanism" if refused["why"].startswith("mechanism") else "policy"
        return _with_host(event, text)
    if text.startswith(_OTHERS):
        return _with_host(event, text)
    return event if event.queue_id is not None else None


def _arrival(event: Event, text: str) -> Event | Unreadable:
    match = _ARRIVAL.match(text)
    if match is None:
        return Unreadable(_NAME, "<= is not followed by a sender")
    event.sender = "" if match["sender"] == "<>" else match["sender"]
    event.status = "queued"
    host, end = None, match.end()
    if match["host"]:
        host = host_at(text, match.end())
        if host is None:
            return event
        end = host.end
    fields = _FIELDS.match(text, end)
    if fields is None:
        return event
    sure, event.nrcpt = recipients(text, fields.end())
    if host is not None and not sure and (forged(text, host) or fields["tls"]):
        event.nrcpt = None
        return event
    event.size = int(fields["size"])
    if host is None:
        return event
    event.client_ip, event.service = host.ip, host.service
    if fields["auth"] and not (fields["ident"] and text.count(" P=", end) > 1):
        event.kind, event.status = "submission", None
        event.account, event.method = account_name(fields["user"] or ""), _mechanism(fields["auth"])
    return event


def _delivery(event: Event, text: str) -> Event | Unreadable:
    match = _DELIVERY.fullmatch(text)
    if match is None:
        return Unreadable(_NAME, f"{text[:2]} is not followed by an address")
    to, parent, rest = match["to"], match["parent"], match["rest"]
    event.kind, event.status = "delivery", _STATUS[match["what"]]
    reply = to.startswith(">")  # an automatic one, to the sender
    event.recipient = parent if parent and (reply or "@" not in to.rpartition('"')[2]) else to
    event.sender = match["sender"]
    if event.status == "sent":
        confirmed = _CONFIRMED.search(rest)
        said = confirmed[1] if confirmed else ""
    else:
        said = _TOOK.sub("", rest.partition(": ")[2])
    event.reason = said[:MAX_REASON] or None
    found = _DSN.search(said)
    event.dsn = found["dsn"] if found else None
    event.pool = None if to.startswith(("|", "/")) else _pool(rest)
    return event


def _pool(rest: str) -> str | None:
    transport = _TRANSPORT.match(rest)
    if transport is None or transport["name"] in _MAIN or "lmtp" in transport["name"]:
        return None
    name = transport["name"].removeprefix("remote_smtp_")
    return pool_name(name) if transport["remote"] or name != transport["name"] else None


def _refusal(event: Event, text: str) -> Event | None:
    host = host_at(text, text.index("H=") + 2)
    if host is None or (" rejected " not in text and " sender verify " not in text):
        return event if event.queue_id or host else None
    event.kind, event.service = "reject", host.service
    if forged(text, host):
        return event
    event.client_ip = host.ip
    verify = _VERIFY.match(text, host.end)
    if verify is not None:
        event.sender, event.reason = verify["sender"], text[verify.end() :].removeprefix(": ")[:MAX_REASON] or None
        return event
    envelope = _ENVELOPE.match(text, host.end)
    if envelope is None:
        return event
    event.sender, what = envelope["sender"], envelope["what"]
    if envelope["tls"] and " rejected " in what:
        event.sender = None
        return event
    if envelope["auth"]:
        event.account, event.method = account_name(envelope["user"] or ""), _mechanism(envelope["auth"])
    rcpt = _RCPT.match(what)
    if rcpt is not None:
        event.recipient, what = rcpt["recipient"], rcpt["rest"]
    event.reason = (what.partition(": ")[2] or what)[:MAX_REASON] or None
    found = _DSN.search(event.reason or "")
    event.dsn = found["dsn"] if found else None
    return event


def _login(event: Event, text: str, failed: re.Match[str]) -> Event | Unreadable:
    event.kind, event.method = "auth_failure", _mechanism(failed["auth"])
    host = host_at(text, failed.end())
    answer = _ANSWER.match(text, host.end) if host else None
    if host is None or answer is None:
        return Unreadable(_NAME, "authenticator failed without a client address")
    event.service, event.reason = host.service, _reason(answer["code"])
    if forged(text, host):
        return event
    event.client_ip = host.ip
    _, _, user = answer["text"].partition(_SET_ID)
    if event.reason != "password" and user.count("): ") == 1:
        user = user[: user.index("): ") + 1]
    if user.endswith(")"):
        event.account = account_name(user[:-1])
    return event


def _reason(code: str) -> AuthReason:
    """Of the codes in ``smtp_in_auth``; 435 is a trouble of the server's, whatever the password."""
    return _REASONS.get(code, "temporary")


_REASONS: dict[str, AuthReason] = {"535": "password", "501": "aborted", "553": "aborted", "504": "mechanism"}


def _mechanism(authenticator: str) -> str:
    """The mechanism that an authenticator's name tells, such as ``dovecot_plain``; else that name."""
    low = authenticator.lower()
    for name in _MECHANISMS:
        if name in low:
            return f"{name.upper()}-MD5" if name in ("cram", "digest") else name.upper()
    return authenticator


def _with_host(event: Event, text: str) -> Event:
    """The address where no client's text can stand before it, or where only one host is named."""
    prefix = _FROM.match(text)
    start = prefix.end() if prefix else text.find(" H=") + 3 if text.count(" H=") == 1 else 0
    host = host_at(text, start) if start > 0 else None
    if host is not None and not forged(text, host):
        event.client_ip, event.service = host.ip, host.service
    return event


FORMAT = Format(
    _NAME,
    Role.MTA,
    {"exim": read, "exim4": read},
    bare=(("2", read_bare),),
    clients=(
        ClientText("HELO", r"(?:H=|failed for |connection from )(?:[\w.]+ )?\(([^()]*)\)", Escape.HOST),
        ClientText("host by DNS", r"(?:H=|failed for |call from |connection from )([a-z][\w.]*) [(\[]", Escape.HOST),
        ClientText("sender", r"<= ([^\s<>]+@[^\s<>]+)|F=<([^<>]*)>|from <([^<>]*)>|fail for <([^<>]*)>", Escape.QUOTED),
        ClientText("message id", r" id=(\S+)", Escape.QUOTED),
        ClientText("subject", r'T="((?:[^"\\]|\\.)*)"', Escape.BACKSLASH),
        ClientText(
            "recipient",
            r" for ([^\s<>\[\]]+@\S+)|RCPT <([^<>]*)>|(?:[=>-]>|\*\*|==) (?:([^\s<>]+@\S+)|>?[^<>]+ <([^<>]*)>)",
            Escape.QUOTED,
        ),
        ClientText("user", r"set_id=([^()]*)\)"),
        ClientText("command", r'error in "AUTH ([^"]*)" H='),
        ClientText("server name of TLS", r"SNI=(\S+)"),
        ClientText("what came instead of a greeting", r'input="([^"]*)"'),
        ClientText("HELO refused", r"EHLO or HELO (.*)|argument\(s\): (.*)"),
        ClientText("certificate", r'DN="([^"]*)"'),
        ClientText("last command", r'last was "([^"]*)"'),
        ClientText("answer of another server", r'C="([^"]*)"', Escape.BACKSLASH),
        ClientText("error of another server", r"\]: (SMTP error .*)"),
    ),
)
