"""What every format shares: the outcome of reading, and the fields that identify a client."""

import ipaddress
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import msgspec

from schemas.event import Event

MAX_REASON = 200


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A line that ``format`` claims and cannot read; it goes to ``dead-letters`` with the ``reason``."""

    format: str
    reason: str


Outcome = Event | Unreadable | None
Reader = Callable[[datetime, str, str, str | None, str], Outcome]
"""(time, host, program, service, text after the tag) -> outcome. ``None``: the format does not claim the line."""


class Format(NamedTuple):
    """A format module's entry: its ``name`` and the programs whose lines it reads."""

    name: str
    programs: Mapping[str, Reader]


@lru_cache(maxsize=131_072)
def canonical_ip(text: str) -> str | None:
    """The address as everyone here writes it: IPv6 compressed (RFC 5952), IPv4-mapped as IPv4; ``None`` if invalid."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def account_name(text: str) -> str | None:
    """The account in lower case; ``None`` where a server wrote an empty or a shortened name (``abc...``)."""
    return None if not text or text.endswith("...") else text.lower()


def number(text: str) -> int | None:
    """A non-negative decimal number below 10^18, else ``None``."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
