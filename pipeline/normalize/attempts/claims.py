"""Refusals that are not the last word: a password store said no, and the session may yet succeed."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec

from pipeline.normalize.doubles import Counted
from pipeline.normalize.generations import Key
from pipeline.normalize.tally import MAX_LINE
from schemas.event import Event

HOLD: Final = timedelta(seconds=3)
"""A chain of stores is over within a second or so."""
_BACK: Final = timedelta(seconds=60)
"""A clock that was set back by more: its host's claims wait for nothing more."""
MOST: Final = 8192


class Claim(msgspec.Struct, gc=False):
    """``line``: as it was logged. ``key``: see ``key_of``."""

    event: Event
    line: str
    key: Key


def key_of(event: Event) -> Key:
    """Which claims are of one try: those of a session, or where there is none, of an account and address."""
    if event.session is not None:
        return of_session(event.host, event.session)
    return nameless(event.host, event.account, event.client_ip)


def of_session(host: str, session: str) -> Key:
    """The key of its claims."""
    return host, f"={session}"


def nameless(host: str, account: str | None, address: str | None) -> Key:
    """The key of claims that name no session. What was tried from one address is never another's."""
    return host, f"{address or ''} {account or ''}"


class Claims:
    """What is held, by host, in the order of lines. At most ``limit``, about 1 kB each."""

    def __init__(self, limit: int = MOST) -> None:
        self.forgotten = 0
        self._limit = limit
        self._hosts: dict[str, OrderedDict[int, Claim]] = {}
        self._of: dict[Key, list[Claim]] = {}
        self._number = 0
        self._settled: list[Claim] = []

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[Claim]:
        return (claim for queue in self._hosts.values() for claim in queue.values())

    def hold(self, event: Event, line: str) -> list[Claim]:
        """Takes one more; returns those that have to go for it, of one key, to be settled."""
        claim = Claim(event, line[:MAX_LINE], key_of(event))
        gone = self._first(next(iter(self._hosts))) if self._number >= self._limit else []
        self.forgotten += bool(gone)
        self._hosts.setdefault(event.host, OrderedDict())[id(event)] = claim
        self._of.setdefault(claim.key, []).append(claim)
        self._number += 1
        return gone

    def due(self, host: str, now: datetime) -> Iterator[list[Claim]]:
        """Those that wait for nothing more, as its host's clock is ``now``: of one key at a time, to be settled."""
        while queue := self._hosts.get(host):
            held = next(iter(queue.values())).event.time
            if held - _BACK <= now < held + HOLD:
                return
            yield self._first(host)

    def of(self, key: Key) -> list[Claim]:
        """All with that key, in order."""
        return self._of.get(key, [])[:]

    def settle(self, claims: Iterable[Claim]) -> None:
        """They are held no more."""
        for claim in claims:
            queue, left = self._hosts[claim.event.host], self._of[claim.key]
            del queue[id(claim.event)]
            left.remove(claim)
            self._settled.append(claim)
            self._number -= 1
            if not queue:
                del self._hosts[claim.event.host]
            if not left:
                del self._of[claim.key]

    def take_settled(self, events: list[Event], counted: list[Counted]) -> None:
        """Moves what was settled since the last call there, each once."""
        for claim in self._settled:
            events.append(claim.event)
            counted.append((claim.event, claim.line))
        self._settled.clear()

    def _first(self, host: str) -> list[Claim]:
        return self.of(next(iter(self._hosts[host].values())).key)

    def dump(self) -> list[Counted]:
        """The state."""
        return [(claim.event, claim.line) for claim in self]

    def load(self, dumped: Iterable[Counted]) -> None:
        """Inverse of ``dump``."""
        self._hosts, self._of, self._number = {}, {}, 0
        for event, line in dumped:
            self.hold(event, line)
