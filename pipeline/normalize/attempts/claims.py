"""Refusals that are not the last word: a password store said no, and the session may yet succeed."""

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from pipeline.normalize.generations import Key
from schemas.event import Event

HOLD: Final = timedelta(seconds=3)
"""A chain of stores is over within a second or so."""
_BACK: Final = timedelta(seconds=60)
"""A clock that was set back by more: its host's claims wait for nothing more."""
MOST: Final = 8192
MAX_LINE: Final = 400  # characters of a line, which may become evidence


class Claim(msgspec.Struct, gc=False):
    """``line``: as it was logged. ``key``: of the session, or of host and account where there is none."""

    event: Event
    line: str
    key: Key
    settled: bool = False


def key_of(event: Event) -> Key:
    """Which claims are of one try."""
    if event.session is not None:
        return event.host, f"={event.session}"
    return event.host, event.account or ""


class Claims:
    """What is held, by host, in the order of lines. At most ``limit``, about 1 kB each."""

    def __init__(self, limit: int = MOST) -> None:
        self._limit = limit
        self._hosts: dict[str, deque[Claim]] = {}
        self._of: dict[Key, list[Claim]] = {}
        self._number = 0
        self._settled: list[Claim] = []

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Claim]:
        return (claim for queue in self._hosts.values() for claim in queue if not claim.settled)

    def hold(self, event: Event, line: str) -> list[Claim]:
        """Takes one more; returns those that had to go for it, of one try."""
        claim = Claim(event, line[:MAX_LINE], key_of(event))
        gone = self._first(next(iter(self._hosts))) if self._number >= self._limit else []
        self._hosts.setdefault(event.host, deque()).append(claim)
        self._of.setdefault(claim.key, []).append(claim)
        self._number += 1
        return gone

    def due(self, host: str, now: datetime) -> Iterator[list[Claim]]:
        """Those that wait for nothing more, as its host's clock is ``now``: of one key at a time, to be settled."""
        while queue := self._hosts.get(host):
            if not queue[0].settled:
                held = queue[0].event.time
                if held - _BACK <= now < held + HOLD:
                    return
                yield self._first(host)
            else:
                queue.popleft()
        self._hosts.pop(host, None)

    def of(self, key: Key) -> list[Claim]:
        """All with that key, in order."""
        return self._of.get(key, [])[:]

    def settle(self, claims: Iterable[Claim]) -> None:
        """They are held no more."""
        for claim in claims:
            if not claim.settled:
                claim.settled = True
                self._settled.append(claim)
                self._number -= 1
                left = self._of[claim.key]
                left.remove(claim)
                if not left:
                    del self._of[claim.key]

    def take_settled(self, events: list[Event], counted: list[tuple[Event, str]]) -> None:
        """Moves what was settled since the last call there, each once."""
        for claim in self._settled:
            events.append(claim.event)
            counted.append((claim.event, claim.line))
        self._settled.clear()

    def _first(self, host: str) -> list[Claim]:
        queue = self._hosts[host]
        while queue and queue[0].settled:
            queue.popleft()
        if not queue:
            del self._hosts[host]
            return self._first(next(iter(self._hosts)))
        return self.of(queue[0].key)

    def dump(self) -> list[tuple[Event, str]]:
        """The state."""
        return [(claim.event, claim.line) for claim in self]

    def load(self, dumped: Iterable[tuple[Event, str]]) -> None:
        """Inverse of ``dump``."""
        self._hosts, self._of, self._number = {}, {}, 0
        for event, line in dumped:
            self.hold(event, line)
