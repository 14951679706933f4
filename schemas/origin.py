"""Which raw frame a message was made from: two headers of ``events``, ``dead-letters`` and ``tallies``."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from schemas.codec import DecodeError, decode_text
from schemas.topics import AUTHLOG, MAILLOG

SOURCE, OFFSET = "source", "offset"
LAST_OFFSET: Final = (1 << 63) - 1

_SOURCE: Final = re.compile(
    rf"(?:[A-Za-z0-9._-]{{1,200}}[._-])?(?:{MAILLOG.name}|{AUTHLOG.name})-(?:0|[1-9][0-9]{{0,3}})(?:\+[1-9][0-9]{{0,5}})?"
    r"(?:#[1-9][0-9]{0,4})?"
)
"""A partition of a raw topic, such as ``maillog-3``; the topic may have a prefix, and a number of the topic's life may
follow, ``maillog-3+1``, and that of a piece of a large frame, ``maillog-3#1``."""

Header = tuple[str, bytes | None]


class RawFrame(NamedTuple):
    """``source``: the raw topic's partition, ``maillog-3``. ``offset``: of the raw frame in it."""

    source: str
    offset: int


def origin_headers(source: str, offset: int) -> tuple[tuple[str, bytes], ...]:
    """The headers that say it. Inverse of ``origin_of``."""
    return (SOURCE, source.encode()), (OFFSET, str(offset).encode())


def origin_of(headers: Iterable[Header]) -> RawFrame | None:
    """None if no header says it: somebody else wrote the message. Raises DecodeError if they say what cannot be."""
    found = [(name, value) for name, value in headers if name in {SOURCE, OFFSET}]
    if not found:
        return None
    given = dict(found)
    if len(found) != 2 or len(given) != 2:
        raise DecodeError("the headers source and offset must both be there, once each")
    source, offset = (decode_text(given[name], f"the header {name}") for name in (SOURCE, OFFSET))
    if not _SOURCE.fullmatch(source):
        raise DecodeError(f"the header source is {source[:100]!r}, no partition of a raw topic such as maillog-0")
    if not (offset.isascii() and offset.isdigit() and len(offset) <= 19 and int(offset) <= LAST_OFFSET):
        raise DecodeError(f"the header offset is {offset[:100]!r}, no offset of Kafka")
    return RawFrame(source, int(offset))
