"""What may go from the topic ``enforcement``: decisions that have been over, and there, for a day. Pure; the time is an
argument.

Compaction keeps the last message of each key for ever, so that without tombstones the topic would only grow. One that
is written for a decision that is over says so by a header: it is none of an operator's, and agents need not obey it. It
may cross a new decision with the same key, which compaction would then remove: whoever sweeps sees his own tombstone
come back behind that decision, and writes it again.
"""

from datetime import datetime
from heapq import heappop, heappush
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from pipeline.ports import Record
from schemas.codec import DecodeError, decoded
from schemas.enforcement import OVER

MARGIN: Final = 86_400.0
"""Seconds that a decision stays after it was over, and after it was written, which of an old log is later: for clocks
that differ, and for people who look it up."""


class Message(NamedTuple):
    """To be written to ``enforcement``; ``value`` None: a tombstone."""

    key: bytes
    value: bytes | None


class _Until(msgspec.Struct):
    expires_at: Annotated[datetime, Meta(tz=True)]


_UNTIL = msgspec.json.Decoder(_Until)


def is_over(value: bytes, now: float) -> bool:
    """Is this message a decision whose time is over? What cannot be read is not."""
    try:
        return decoded(_UNTIL.decode, value).expires_at.timestamp() <= now
    except DecodeError:
        return False


class Sweep:
    """Takes the topic's records in their order, from its start, and says what is to be written."""

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}
        self._due: list[tuple[float, bytes]] = []  # a heap; what was replaced since is in it, too
        self._sent: dict[bytes, bytes | None] = {}  # tombstones on their way, and what was written meanwhile

    def take(self, record: Record) -> Message | None:
        """One record; what must be written again, if anything."""
        key = record.key or b""
        if record.value is None:
            self._until.pop(key, None)
            if not any(name == OVER for name, _ in record.headers):
                if key in self._sent:
                    self._sent[key] = None  # lifted meanwhile
                return None
            crossed = self._sent.pop(key, None)
            return None if crossed is None else Message(key, crossed)
        if key in self._sent:
            self._sent[key] = record.value
        try:
            until = max(decoded(_UNTIL.decode, record.value).expires_at.timestamp(), record.timestamp_ms / 1000)
        except DecodeError:  # agents tell of it; it is not known when it is over
            self._until.pop(key, None)
            return None
        self._until[key] = until
        heappush(self._due, (until, key))
        return None

    def over(self, now: float, most: int = 5_000) -> list[Message]:
        """Tombstones for what has been over for ``MARGIN``, at most ``most``. To be asked at the topic's end only."""
        found: list[Message] = []
        while self._due and self._due[0][0] + MARGIN <= now and len(found) < most:
            until, key = heappop(self._due)
            if self._until.get(key) == until:
                del self._until[key]
                self._sent[key] = None
                found.append(Message(key, None))
        return found
