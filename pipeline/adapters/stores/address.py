"""The address of a ClickHouse server: what it may be, and what of it may be shown."""

from urllib.parse import SplitResult, urlsplit


def parsed(address: str) -> SplitResult:
    """The parts of an address. Raises ValueError, which does not repeat it: it may hold a password."""
    try:
        parts = urlsplit(address if "://" in address else f"clickhouse://{address}")
        good = parts.scheme in ("clickhouse", "clickhouses") and bool(parts.hostname)
        good = good and ("://" in address or parts.port is not None)
    except ValueError:
        good = False
    if not good:
        raise ValueError(
            "the address of ClickHouse must be host:port, such as 127.0.0.1:9000, or clickhouse://user@host/base "
            "(clickhouses:// for TLS)"
        )
    return parts


def shown_address(address: str) -> str:
    """The address without what may be a password: of anything that could be meant for an address."""
    before, at, after = address.rpartition("@")
    scheme, found, user = before.rpartition("://")
    hidden = f"{scheme}{found}{user.partition(':')[0]}{at}{after}" if at else after
    return hidden.partition("?")[0]
