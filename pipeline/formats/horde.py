"""Horde and its webmail IMP, 3 to 6 (login.php, Auth.php, Compose.php), as a file or through syslog.

The user is the client's text, and so is the forwarding header, which is never used. A line in which they imitate
the rest gives neither account nor address.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Unreadable
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event

_NAME = "horde"
_BARE = re.compile(r"(?P<time>[^\s:]+(?: [0-9 ][0-9] [0-9]{2})?:[^\s]+) (?:[A-Z]+: )?HORDE:? (?P<text>\[.*)", re.DOTALL)
_TEXT = re.compile(r"(?:\[[a-z0-9_-]+\] )+(?P<what>FAILED LOGIN|Login success) for (?P<said>.*)", re.DOTALL)
_IMP = re.compile(r"(?P<user>.*) (?:\((?P<ip>[^()\s]+)\)|\[(?P<old>[^\[\]\s]+)\])", re.DOTALL)
_HORDE = re.compile(r"(?P<user>.*) to [a-z0-9_-]+ \((?P<ip>[^()\s]+)\)(?: \[(?:pid|on line) .*)?", re.DOTALL)
_OLD = re.compile(r"(?P<user>.*) \[(?P<ip>[^\[\]\s]+)\] to Horde(?: \[(?:pid|on line) .*)?", re.DOTALL)
_FORWARDED = " (forwarded for ["
_OTHER_USER = re.compile(r" \(Horde user [^()]*\)$")


def read_line(line: str, stamps: Stamps) -> Outcome:
    """A line of a file: ``Nov 24 01:50:43 HORDE [error] [imp] …``, ``2026-11-24T01:50:43+00:00 ERR: HORDE [imp] …``."""
    if " HORDE" not in line[:60]:
        return None
    match = _BARE.fullmatch(line)
    time = stamps.any(match["time"]) if match else None
    return None if match is None or time is None else _read(Event("other", time, "", _NAME), match["text"])


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog."""
    return _read(Event("other", time, host, _NAME), f"{first}: {rest}" if rest else first)


def _read(event: Event, text: str) -> Outcome:
    event.service = "webmail"
    match = _TEXT.fullmatch(text)
    if match is None:
        return event
    event.kind = "auth_failure" if match["what"] == "FAILED LOGIN" else "auth_success"
    event.reason = "password" if event.kind == "auth_failure" else None
    who = _who(match["said"])
    if who is None:
        return Unreadable(_NAME, "login without an address")
    user, address = who
    if match["said"].count(" to ") != 1 or match["said"].count(_FORWARDED) > 1:
        return event
    event.client_ip, event.account = CANONICAL_IP[address], account_name(_OTHER_USER.sub("", user))
    return event


def _who(said: str) -> tuple[str, str] | None:
    left, found, _ = said.partition(" to {")
    if found:
        left = left.partition(_FORWARDED)[0] if left.endswith("])") else left
        match = _IMP.fullmatch(left)
        return (match["user"], match["ip"] or match["old"]) if match else None
    match = _HORDE.fullmatch(said) or _OLD.fullmatch(said)
    return (match["user"], match["ip"]) if match else None


FORMAT = Format(
    _NAME,
    Role.WEBMAIL,
    {"HORDE": read, "horde": read},
    bare=(("JFMASOND12", read_line),),
    clients=(
        ClientText("user", r"LOGIN for (\S+) [(\[t]|imap://([^@/]*)@"),
        ClientText("header of a proxy", r"forwarded for \[([^\[\]]*)\]"),
        ClientText("recipient", r"sent to (\S+) from", Escape.QUOTED),
    ),
)
