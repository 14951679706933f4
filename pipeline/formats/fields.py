"""What every format shares: the outcome of reading, and the fields that identify a client."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from pipeline.formats.stamps import Stamps
from schemas.event import Event
from schemas.kinds import POOL_NAME

MAX_REASON = 200
_LONGEST_IP = 64  # with a zone (RFC 4007)
_ADDRESSES = 65_536
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")  # far faster than ipaddress


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A line that ``format`` claims and cannot read; it goes to ``dead-letters`` with the ``reason``."""

    format: str
    reason: str


Outcome = Event | Unreadable | None
Reader = Callable[[datetime, str, str, str | None, str, str], Outcome]
"""(time, host, program, service, first, rest) -> outcome. ``None``: the format does not claim the line.

The text after the tag is ``first: rest``, split at its first colon and blank; ``rest`` is empty if there is none.
"""


BareReader = Callable[[str, Stamps], Outcome]
"""(whole line, stamps) -> outcome, for lines that begin with no syslog header."""
ObjectReader = Callable[[Mapping[str, object], Stamps], Outcome]
"""(decoded JSON object, stamps) -> outcome, for programs that log JSON of their own."""


class Format(NamedTuple):
    """A format module's entry.

    * ``programs``: syslog tag (without pid) -> reader. ``imapd`` claims that tag, and ``any/imapd``; ``cyrus/`` claims
      every tag that begins so. Several formats may name the same tag: the first whose reader does not return ``None``
      has the line.
    * ``within``: the format through which alone ``programs`` are reached, in place of their tags.
    * ``bare``: (first characters, reader) of lines that no syslog header begins.
    * ``objects``: reader of JSON objects, or ``None``.
    * ``told_pid``: its readers are told the process id in place of the service.
    """

    name: str
    programs: Mapping[str, Reader]
    within: str = ""
    bare: tuple[tuple[str, BareReader], ...] = ()
    objects: ObjectReader | None = None
    told_pid: bool = False


class _Addresses(dict[str, str | None]):
    """Remembers canonical addresses: subscribing is several times faster than calling."""

    def __missing__(self, text: str) -> str | None:
        if len(text) > _LONGEST_IP:
            return None
        if len(self) >= _ADDRESSES:
            self.clear()
        self[text] = address = _canonical(text)
        return address


def _canonical(text: str) -> str | None:
    if _IPV4.fullmatch(text):
        return text
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


CANONICAL_IP = _Addresses()
"""Address as written -> canonical: IPv6 compressed (RFC 5952), IPv4-mapped as IPv4; ``None`` if it is invalid."""


def account_name(text: str) -> str | None:
    """The account in lower case; ``None`` where a server wrote an empty or a shortened name (``abc...``)."""
    return None if not text or text.endswith("...") else text.lower()


def pool_name(text: str) -> str | None:
    """A sending pool in lower case; ``None`` if no decision could name it so."""
    low = text.lower()
    return low if POOL_NAME.fullmatch(low) else None


def number(text: str) -> int | None:
    """A non-negative decimal number below 10^18, else ``None``."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


_QUOTED = re.compile(r'"(?:[^"\\]|\\.?)*(?:"|\Z)', re.DOTALL)


def masked(text: str) -> str:
    """The text with what stands in quotes (RFC 5321, quoted-string) blotted out, at the same length."""
    return _QUOTED.sub(lambda match: "#" * len(match[0]), text) if '"' in text else text
