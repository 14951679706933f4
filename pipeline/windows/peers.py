"""How subjects and peers are written: in text for people, in eight bytes inside the windows.

IPv4 addresses count alone, IPv6 addresses by their /64, since a customer has a whole /64 at his will.
"""

import hashlib
import socket
from functools import lru_cache
from typing import Final

from pipeline.networks import ipv6_text

NOBODY: Final = bytes(8)
_V4: Final = b"\0\0\xff\xff"  # no routable IPv6 /64 begins so


@lru_cache(maxsize=1 << 16)
def pack_network(text: str) -> bytes:
    """``198.51.100.7`` or ``2001:db8::/64`` -> 8 bytes. Raises ValueError."""
    try:
        if ":" in text:
            return socket.inet_pton(socket.AF_INET6, text.removesuffix("/64"))[:8]
        return _V4 + socket.inet_pton(socket.AF_INET, text)
    except OSError:
        raise ValueError(f"{text[:64]!r} is neither an IPv4 address nor an IPv6 /64") from None


@lru_cache(maxsize=1 << 16)
def unpack_network(peer: bytes) -> str:
    """Inverse of ``pack_network``."""
    if peer.startswith(_V4):
        return socket.inet_ntoa(peer[4:])
    return f"{ipv6_text(peer + NOBODY)}/64"


@lru_cache(maxsize=1 << 18)
def digest(text: str) -> bytes:
    """8 bytes that stand for an account or a sender. Collisions (1 in 2^64) may hide one distinct peer."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
