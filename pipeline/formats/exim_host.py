"""The host that Exim names: ``H=name (helo) [address]:port I=[…]:port U=ident`` (``host_and_ident`` in its smtp_in.c).

HELO is the client's text. Exim lets no blank or parenthesis into it unless ``helo_accept_junk_hosts`` says so: what
could be a forged end of HELO makes the host unknown.
"""

import re
from typing import NamedTuple

from pipeline.formats.reading.fields import CANONICAL_IP

_SERVICES = {"587": "submission", "465": "smtps", "25": "smtp"}
_HOST = re.compile(
    r"(?:[^\s()\[\]]+ )?(?:\([^\s()]*\) )?\[(?P<ip>[0-9A-Fa-f:.]+)\](?::[0-9]+)?"
    r"(?: I=\[[0-9A-Fa-f:.]+\](?::(?P<port>[0-9]+))?)?"
)
_FORGED = re.compile(r"\) \[[0-9A-Fa-f:.]+\]")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_LOCAL, _ESCAPED = re.compile(r'"[^"\\]*"@'), re.compile(rf"{_QUOTED}@")
_TAIL = re.compile(  # what follows the size in a line of arrival, all of it the client's
    r"(?: (?:M8S|DKIM|RT|Q|PRX|DS)=\S+| ARC| PRDR| K)*"
    rf"(?: id\*?=(?:{_QUOTED}(?:@\S+)?|\S+))?(?: T={_QUOTED})?(?: from <(?:{_QUOTED}[^<>]*|[^<>]*)>)?"
    r"(?: for (?P<recipients>.*))?",
    re.DOTALL,
)


class Host(NamedTuple):
    """``ip``: canonical. ``end``: where the host's text ends. ``forgeable``: HELO stands before the address."""

    ip: str | None
    service: str | None
    end: int
    forgeable: bool


def host_at(text: str, start: int) -> Host | None:
    """The host at ``start`` (after ``H=`` or ``from ``); ``None`` if there is none."""
    match = _HOST.match(text, start)
    if match is None:
        return None
    return Host(CANONICAL_IP[match["ip"]], _SERVICES.get(match["port"] or ""), match.end(), ")" in match[0])


def forged(text: str, host: Host) -> bool:
    """Whether HELO may have ended only behind the host."""
    return host.forgeable and _FORGED.search(text, host.end) is not None


def recipients(text: str, start: int) -> tuple[bool, int | None]:
    """What follows the size: (is it as Exim writes it, the number of recipients if it says them)."""
    tail = _TAIL.fullmatch(text, start)
    if tail is None:
        return False, None
    named = tail["recipients"]
    if not named:
        return True, None
    plain = _LOCAL.sub("@", named) if '"' in named else named
    sure = '"' not in plain and "\\" not in plain and _FORGED.search(plain) is None
    return sure, len(plain.split() if sure else _ESCAPED.sub("@", named).split())
