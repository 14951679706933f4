"""The address of a browser behind a web server's own proxy, from headers that a client may have sent himself."""

from pipeline.formats.reading.fields import CANONICAL_IP

_OWN = (
    "127.", "10.", "192.168.", "169.254.", *(f"172.{second}." for second in range(16, 32)),
    "::1", "fc", "fd", "fe8", "fe9", "fea", "feb",
)  # fmt: skip


def last_hop(text: str) -> str | None:
    """The last address of an ``X-Forwarded-For`` list: what the nearest proxy saw; ``None`` if it is none."""
    return CANONICAL_IP[text.rpartition(",")[2].strip()]


def real_address(address: str, real_ip: str, forwarded: str) -> str | None:
    """``X-Real-IP`` and ``X-Forwarded-For`` count only behind a proxy in a private network, and if they agree."""
    peer = CANONICAL_IP[address]
    if peer is None or not peer.startswith(_OWN) or not (real_ip or forwarded):
        return peer
    claims = {CANONICAL_IP[real_ip.strip()] if real_ip else None, last_hop(forwarded) if forwarded else None} - {None}
    return claims.pop() if len(claims) == 1 else None
