"""What may go from the topic ``enforcement``: decisions that have been over, and there, for a day. Pure; the time is an
argument.

Compaction keeps the last message of each key for ever, so that without tombstones the topic would only grow. One that
is written for a decision that is over says so by a header: it is none of an operator's, and agents need not obey it. It
may cross a new decision with the same key, which compaction would then remove: whoever sweeps sees his own tombstone
come back behind that decision, and writes it again. That may cross another message in its turn, even a release; so it
goes on until what he wrote comes back behind nothing else.
"""

from datetime import datetime
from heapq import heappop, heappush
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from pipeline.ports import Record
from schemas.codec import DecodeError, decoded
from schemas.enforcement import AGAIN, OVER

MARGIN: Final = 86_400.0
"""Seconds that a decision stays after it was over, and after it was written, which of an old log is later: for clocks
that differ, and for people who look it up."""


class Message(NamedTuple):
    """To be written to ``enforcement``; ``value`` None: a tombstone. ``headers``: of what is written again."""

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


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
        self._sent: dict[bytes, tuple[str, Record | None]] = {}  # the header of ours on its way, what came meanwhile

    def take(self, record: Record) -> Message | None:
        """One record; what must be written again, if anything."""
        key = record.key or b""
        if key in self._sent:
            mark, crossed = self._sent[key]
            if not any(name == mark for name, _ in record.headers):
                self._sent[key] = mark, record
            elif crossed is None or (mark == OVER and crossed.value is None):
                del self._sent[key]
            else:  # ours hides what came before it
                self._sent[key] = AGAIN, None
                others = (header for header in crossed.headers if header[0] != AGAIN)
                return Message(key, crossed.value, (*others, (AGAIN, b"1")))
        self._note(key, record)
        return None

    def leave(self, key: bytes) -> None:
        """What ``take`` gave is written by others, and does not come back as ours."""
        self._sent.pop(key, None)

    def _note(self, key: bytes, record: Record) -> None:
        """Until when it holds."""
        self._until.pop(key, None)
        if record.value is None:
            return
        try:
            until = max(decoded(_UNTIL.decode, record.value).expires_at.timestamp(), record.timestamp_ms / 1000)
        except DecodeError:  # agents tell of it; it is not known when it is over
            return
        self._until[key] = until
        heappush(self._due, (until, key))

    def over(self, now: float, most: int = 5_000) -> list[Message]:
        """Tombstones for what has been over for ``MARGIN``, at most ``most``. To be asked at the topic's end only."""
        found: list[Message] = []
        later: list[tuple[float, bytes]] = []
        while self._due and self._due[0][0] + MARGIN <= now and len(found) < most:
            until, key = heappop(self._due)
            if self._until.get(key) == until and key in self._sent:
                later.append((until, key))
            elif self._until.get(key) == until:
                del self._until[key]
                self._sent[key] = OVER, None
                found.append(Message(key, None))
        for due in later:
            heappush(self._due, due)
        return found
