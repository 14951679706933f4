"""What rules look at: the windows of one subject, as they stand at the end of one slot."""

from bisect import bisect_left
from collections.abc import Callable
from functools import cached_property
from operator import itemgetter
from typing import Final

from pipeline.windows.layout import (
    ACCUSED,
    ERROR,
    MARK,
    NEVER,
    NOWHERE,
    SEEN,
    SEND,
    SENDER,
    SLOT,
    Entry,
    first_slot,
    resolution,
)
from pipeline.windows.peers import NOBODY, unpack_network

HOUR: Final = 3600 // SLOT
KNOWN_AFTER: Final = 6 * HOUR  # a source is the owner's once it has been used for so long

_SLOT_OF: Final = itemgetter(0)
_KIND_OF: Final = itemgetter(1)

Counts = Callable[["View", list[Entry]], int]
"""(view, entries of one kind within a window) -> how many of what a metric is about"""


class View:
    """Counts over windows that end at slot ``end``.

    ``peer``: the peer of the tally that is judged; ``succeeded``: whether that tally has a success. ``home``: country
    code, two bytes. ``since``: a slot; what was counted up to it is in no window, though networks that were known stay
    known.
    """

    def __init__(
        self, entries: list[Entry], end: int, peer: bytes, home: bytes, succeeded: bool = False, since: int = 0
    ) -> None:
        self.end = end
        self.peer = peer
        self.succeeded = succeeded
        self.home = home
        self.since = since
        self._entries = entries
        self._windows: dict[tuple[bytes, int], list[Entry]] = {}
        self._in_order: dict[bytes, tuple[list[int], list[Entry]]] = {}
        self.bounds: dict[object, int] = {}
        """What ``Measure.bound`` has found, by metric."""
        self.counted: dict[tuple[object, int, int], int] = {}
        """What ``Measure.within`` has found, by metric and window."""

    def at(self, end: int) -> "View":
        """The same at the end of another slot. What has nothing to do with the end is not found out again."""
        self._oldest, self.seen  # noqa: B018  # so that the copy has them
        other = View.__new__(View)  # as copy.copy does, and several times as fast
        other.__dict__ |= self.__dict__
        other.end, other._windows = end, {}
        other.__dict__.pop("history", None)
        return other

    @cached_property
    def _by_kind(self) -> dict[bytes, list[Entry]]:
        by_kind: dict[bytes, list[Entry]] = {SEND: [], ERROR: [], SEEN: [], SENDER: [], ACCUSED: [], MARK: []}
        for kind in set(map(_KIND_OF, self._entries)):
            by_kind[kind] = [e for e in self._entries if e[1] == kind]
        return by_kind

    def window(self, kind: bytes, seconds: int) -> list[Entry]:
        """Entries of a kind within the last ``seconds``; of SEEN, those of peers whose latest success is."""
        found = self._windows.get((kind, seconds))
        if found is None:
            slots, entries = self.in_order(kind)
            since, until = span(self.end, seconds)
            first = bisect_left(slots, max(since, self.since + 1))
            found = self._windows[kind, seconds] = entries[first : bisect_left(slots, until, first)]
        return found

    def in_order(self, kind: bytes) -> tuple[list[int], list[Entry]]:
        """All entries of a kind by their slots, and these slots."""
        found = self._in_order.get(kind)
        if found is None:
            entries = sorted(self._by_kind[kind], key=_SLOT_OF)
            found = self._in_order[kind] = [e[0] for e in entries], entries
        return found

    def remembered(self, kind: bytes) -> list[Entry]:
        """All entries of a kind, whenever they were made, but for those up to ``since``."""
        return [e for e in self._by_kind[kind] if e[0] > self.since] if self.since else self._by_kind[kind]

    def before(self, kind: bytes) -> list[Entry]:
        """The entries of a kind up to ``since``."""
        return [e for e in self._by_kind[kind] if e[0] <= self.since] if self.since else []

    def later(self, since: int) -> "View":
        """The same, but that no window holds what was counted up to slot ``since``."""
        if since <= self.since:
            return self
        return View(self._entries, self.end, self.peer, self.home, self.succeeded, since)

    @cached_property
    def countries(self) -> frozenset[bytes]:
        """Every country that anything came from."""
        return frozenset(e[2] for e in self._entries)

    @cached_property
    def seen(self) -> dict[bytes, Entry]:
        """Every peer that ever succeeded."""
        return {e[3]: e for e in self._by_kind[SEEN]}

    @cached_property
    def country_of(self) -> dict[bytes, bytes]:
        """The country of each peer."""
        return {e[3]: e[2] for e in self._entries if e[2] != NOWHERE}

    @cached_property
    def history(self) -> int:
        """Slots since the first thing counted, or the first success remembered, at most a day, nor since ``since``."""
        return min(24 * HOUR, self.end - min(self._oldest, self.end), max(0, self.end - self.since))

    @cached_property
    def _oldest(self) -> int:
        """The slot of the first thing counted, or of the first success remembered."""
        kinds = self._by_kind
        firsts = [e[0] for kind, found in kinds.items() if kind not in (SEEN, MARK) for e in found]
        return min(min(firsts, default=NEVER), min(map(first_slot, kinds[SEEN]), default=NEVER))

    @cached_property
    def peers(self) -> frozenset[bytes]:
        """Every peer of anything counted."""
        return frozenset(e[3] for e in self.remembered(SEEN) + self.remembered(ERROR))

    def known_sources(self) -> list[str]:
        """Networks from where the subject has ever succeeded, latest first."""
        known = sorted((e for e in self.seen.values() if e[3] != NOBODY), reverse=True)
        return [unpack_network(e[3]) for e in known]

    def is_owners(self, peer: bytes) -> bool:
        """Was the peer in use long before, or is it the first of several, and at home?"""
        entry = self.seen.get(peer)
        if entry is None:
            return False
        if self.end - first_slot(entry) >= KNOWN_AFTER:
            return True
        return entry is self._earliest and len(self.seen) > 1 and entry[2] in (self.home, NOWHERE)

    @cached_property
    def _earliest(self) -> Entry:
        return min(self.seen.values(), key=first_slot)


def span(end: int, seconds: int) -> tuple[int, int]:
    """The window of that length that ends with slot ``end``: its first slot, and the first one after it."""
    step = resolution(seconds)
    until = (end // step + 1) * step
    return until - seconds // SLOT, until


def leaves(slot: int, seconds: int) -> int:
    """The first end of a window of that length that no longer holds that slot, which one before held."""
    step = resolution(seconds)
    return (slot + seconds // SLOT) // step * step
