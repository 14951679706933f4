"""Zimbra's mailboxd: the authentication lines of audit.log and mailbox.log (ZimbraLog, log4j).

``time LEVEL  [thread] [name=…;oip=…;ip=…;] security - cmd=Auth; account=…; protocol=…; error=…;``. ``oip`` is the
client, ``ip`` the proxy in front of mailboxd. The user name and the user agent (``ua``) are the client's text.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, MAX_REASON, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event
from schemas.kinds import AuthReason

_LINE = re.compile(
    r"(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}),(?P<ms>[0-9]{3}) (?P<rest>[A-Z]+ .*)", re.DOTALL
)
_START = (  # the comma first: lines of other programs' logs begin the same
    r"(?=.{19},)[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2},[0-9]{3} [A-Z]+ +\[[^\]]*\] \["
)
_CONTEXT = re.compile(r"(?:INFO|WARN|ERROR) +\[[^\]]*\] \[(?P<context>.*)", re.DOTALL)
_SECURITY = "] security - cmd="
_COMMANDS = ("Auth; ", "AdminAuth; ")
_AUTH = re.compile(
    r"(?:account=(?P<account>[^;\s]*);)?(?: ?protocol=(?P<protocol>[\w-]+);)?(?: ?error=(?P<error>.*?);?)?", re.DOTALL
)
_ADDRESS = re.compile(r"(?:\A|;)(?P<which>oip|ip)=(?P<ip>[0-9A-Fa-f:.]+)(?=;|\Z)")
_SERVICES = {"imap": "imap", "pop3": "pop3", "soap": "webmail", "http_basic": "webmail", "http_dav": "webmail",
             "zsync": "webmail", "smtp": "submission"}  # fmt: skip
_REASONS: tuple[tuple[str, AuthReason], ...] = (
    ("account not found", "unknown_user"),
    ("no such account", "unknown_user"),
    ("account lockout", "disabled"),
    ("account(or domain) status", "disabled"),
    ("account is", "disabled"),
    ("is not active", "disabled"),
    ("must change password", "disabled"),
    ("maintenance", "disabled"),
    ("invalid password", "password"),
    ("invalid credentials", "password"),
    ("policy", "policy"),
    ("ldap error", "temporary"),
    ("system failure", "temporary"),
    ("unable to", "temporary"),
    ("authentication failed for", "password"),
)


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog (``zimbraLogToSysLog``), without mailboxd's own time stamp or with it."""
    text = f"{first}: {rest}" if rest else first
    own = _LINE.fullmatch(text)
    return _security(Event("other", time, host, program), own["rest"] if own else text) or Event(
        "other", time, host, program
    )


def read_bare(line: str, stamps: Stamps) -> Outcome:
    """A line of audit.log or mailbox.log; they name neither host nor program."""
    own = _LINE.fullmatch(line)
    if own is None:
        return None
    time = stamps.iso(f"{own['time']}.{own['ms']}")
    return None if time is None else _security(Event("other", time, "", "mailboxd"), own["rest"])


def _security(event: Event, text: str) -> Event | None:
    context, found, right = text.rpartition(_SECURITY)
    match = _CONTEXT.fullmatch(context) if found and right.startswith(_COMMANDS) else None
    if match is None:
        return None
    fields = _AUTH.fullmatch(right.partition("; ")[2])
    addresses: dict[str, str] = {}
    for place in _ADDRESS.finditer(match["context"].partition(";ua=")[0]):
        addresses.setdefault(place["which"], place["ip"])
    address = addresses.get("oip") or addresses.get("ip")
    event.client_ip = CANONICAL_IP[address] if address else None
    if fields is None:
        return event
    event.service = _SERVICES.get(fields["protocol"] or "")
    event.account = account_name(fields["account"] or "") if _SECURITY not in context else None
    if fields["error"] is None:
        event.kind = "auth_success"
        return event
    event.kind, error = "auth_failure", fields["error"].lower()
    if event.account is not None and "failed for [" in error:
        if f"[{event.account}]" not in error:  # the server names it twice
            event.account = None
        else:
            error = error.replace(f"[{event.account}]", "")
    error = error[:MAX_REASON]
    event.reason = next((reason for words, reason in _REASONS if words in error), "temporary")
    return event


FORMAT = Format(
    "zimbra",
    Role.ACCESS,
    {"mailboxd": read, "zimbra": read},
    bare=(("2", read_bare),),
    bare_start=_START,
    clients=(
        ClientText("user", r"account=([^;]*);.*failed for \[([^\]]*)\]", Escape.WORD),
        ClientText("User-Agent", r"ua=([^;]*);"),
    ),
)
