"""Signed messages and time: which of two with one key holds, whatever their order on the topic. Pure.

A signature does not tell that a message is new: whoever may write to a topic can write there again what was signed long
ago. So what a message says of its own time counts. A tombstone lifts what was issued until the decision that it was
written for, and nothing newer; what it lifted does not come back by being written again; and nothing older takes the
place of what is newer. Only where keys are configured: otherwise the last message wins.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from pipeline.ports import Record
from schemas.codec import decoded
from schemas.enforcement import HELD, OVER

NEVER: Final = float("inf")


class Told(NamedTuple):
    """What a message says of its time, seconds since 1970. ``issued``, ``until``: of the decision or the entry; of a
    tombstone, of what it lifts. ``over``: it only clears away what is over."""

    issued: float
    until: float
    lifts: bool = False
    over: bool = False


def told_by(issued: datetime, until: datetime | None) -> Told:
    """Of a decision or an entry that was read before."""
    return Told(issued.timestamp(), NEVER if until is None else until.timestamp())


class _Times(msgspec.Struct):
    issued_at: Annotated[datetime, Meta(tz=True)]
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


_TIMES = msgspec.json.Decoder(_Times)


def told_of(record: Record) -> Told:
    """Of a message of ``enforcement`` or ``settings``. A tombstone that does not tell what it was written for lifts
    what was issued before it was written; one that does not tell that either, nothing. Raises DecodeError."""
    if record.value is not None:
        times = decoded(_TIMES.decode, record.value)
        return told_by(times.issued_at, times.expires_at)
    headers = dict(record.headers)
    issued, until = (time_of(headers.get(name)) for name in HELD)
    if issued is None:
        issued = time_of(headers.get("at")) or 0.0
    return Told(issued, NEVER if until is None else until, lifts=True, over=OVER in headers)


def time_of(told: bytes | None) -> float | None:
    """RFC 3339 -> seconds since 1970; None if it is none."""
    try:
        return datetime.fromisoformat((told or b"").decode()).timestamp()
    except (ValueError, OverflowError):
        return None


def supersedes(new: Told, known: Told | None, now: float) -> bool:
    """Does a message hold that comes after another with its key, which held until then? ``now``: seconds since 1970."""
    if known is None:
        return True
    if new.over and not known.lifts and known.until > now:
        return False
    if new.lifts:
        return new.issued >= known.issued
    return new.issued > known.issued or (new.issued == known.issued and not known.lifts)


class Hidden:
    """Topics and keys of what a reader knows and the topic no longer tells: what was written after it is not obeyed,
    but compaction keeps nothing else. To be told of each record while a topic is read anew."""

    def __init__(self) -> None:
        self._keys: set[tuple[str, str]] = set()

    def note(self, record: Record, key: str, known: Told | None, passes: bool, now: float) -> None:
        """``known``: what the reader knows under that key. ``passes``: the record's signature is right. Raises
        DecodeError."""
        if known is not None and not (passes and supersedes(told_of(record), known, now)):
            self._keys.add((record.topic, key))
        else:
            self._keys.discard((record.topic, key))

    def clear(self) -> None:
        """Before the topic is read."""
        self._keys.clear()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._keys)


class Lifts:
    """Until when what is issued for a key stays lifted, as signed tombstones said it; kept for as long as it would
    hold. So they are as many as people lifted: whoever has no key adds none."""

    def __init__(self) -> None:
        self._lifted: dict[str, tuple[float, float]] = {}

    def note(self, key: str, told: Told) -> None:
        """A tombstone was obeyed."""
        if told.issued >= self._lifted.get(key, (0.0, 0.0))[0]:
            self._lifted[key] = told.issued, told.until

    def cover(self, key: str, issued: float) -> bool:
        """Was what was issued then lifted, by now or for good?"""
        return key in self._lifted and issued <= self._lifted[key][0]

    def expire(self, now: float) -> None:
        """Forgets what would be over by itself."""
        if self._lifted:
            self._lifted = {key: times for key, times in self._lifted.items() if times[1] > now}

    def copy(self) -> "Lifts":
        """The same, which may be changed by itself."""
        made = Lifts()
        made._lifted = self._lifted.copy()
        return made

    def __len__(self) -> int:
        return len(self._lifted)
