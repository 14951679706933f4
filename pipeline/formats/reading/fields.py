"""Fields that identify a client, and the limits of what is kept."""

import re
import socket

from pipeline.networks import V4_MAPPED, ipv6_text
from schemas.kinds import POOL_NAME

MAX_REASON = 200
_LONGEST_IP = 64  # with a zone (RFC 4007)
_ADDRESSES = 65_536
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")  # far faster than ipaddress


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
    base = text.partition("%")[0]
    if ":" not in base:
        return base if _IPV4.fullmatch(base) else None
    try:
        packed = socket.inet_pton(socket.AF_INET6, base)
    except (OSError, ValueError):  # a NUL byte, or half of a surrogate pair
        return None
    return socket.inet_ntoa(packed[12:]) if packed.startswith(V4_MAPPED) else ipv6_text(packed)


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
