"""One mistake of one person.

A mail client that has a wrong password opens up to eight connections within a few seconds. Failures of one account from
one network within ``LENGTH``, up to ``MOST``, count once. More than that is machine speed, and all of it counts; so
does whatever comes within the hour after the first such burst. Where a network has failed at several accounts lately it
is no single person, and every failure counts. What an MTA says counts by itself: it is in other logs than what access
servers say, and the SASL server that it asks tells the same tries.

An attacker gains by it: at each of two accounts for each network, up to seven more tries in an hour.
"""

from typing import Final

import msgspec

from pipeline.formats.reading.programs import MTAS
from pipeline.normalize.generations import Dumped, Generations, Key
from schemas.event import Event
from schemas.kinds import PASSWORD_ERRORS
from schemas.times import HOUR

LENGTH: Final = 10.0  # seconds
MOST: Final = 8
PERSON: Final = 2  # accounts that one person may have on one network
REMEMBERED: Final = 20_000
SIDES: Final = ("mta", "asked")


class Burst(msgspec.Struct, array_like=True, gc=False):
    """``since``: seconds since 1970. ``tries``: so many were made, of which one counted; 0: all count."""

    since: float
    tries: int


class NetworkFailures(msgspec.Struct, array_like=True, gc=False):
    """At which accounts a network failed, ``PERSON`` + 1 at most, and when last (seconds since 1970)."""

    last: float
    accounts: list[str]


class Bursts:
    """What is known of each account and network, and of each network."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._bursts: Generations[Burst] = Generations(limit)
        self._networks: Generations[NetworkFailures] = Generations(limit)

    def see(self, event: Event) -> None:
        """Completes a failure in place: its ``count`` is that of mistakes."""
        account, network = event.account, event.network
        if not account or not network or event.count <= 0 or event.reason not in PASSWORD_ERRORS:
            return
        at, where = event.time.timestamp(), _side(event)
        key = network, f"{where} {account}"
        person = self._is_person((network, where), account, at)
        burst = self._bursts.get(key)
        if burst is None or not -LENGTH <= at - burst.since <= HOUR:
            few = person and event.count <= MOST
            self._bursts.put(key, Burst(at, event.count if few else 0))
            if few:
                event.count = 1
        elif burst.tries:
            tries = burst.tries + event.count
            if person and tries <= MOST and at - burst.since <= LENGTH:
                burst.tries = tries
                event.count = 0
            elif at - burst.since <= LENGTH:  # those that did not count do so now
                burst.tries, event.count = 0, tries - 1
            else:
                burst.tries = 0

    def _is_person(self, key: Key, account: str, at: float) -> bool:
        known = self._networks.get(key)
        if known is None or abs(at - known.last) > HOUR:
            known = NetworkFailures(at, [])
            self._networks.put(key, known)
        known.last = at
        if account not in known.accounts and len(known.accounts) <= PERSON:
            known.accounts.append(account)
        return len(known.accounts) <= PERSON

    def dump(self) -> tuple[Dumped[Burst], Dumped[NetworkFailures]]:
        """The state."""
        return self._bursts.dump(), self._networks.dump()

    def load(self, dumped: tuple[Dumped[Burst], Dumped[NetworkFailures]]) -> None:
        """Inverse of ``dump``."""
        self._bursts.load(dumped[0])
        self._networks.load(dumped[1])


def _side(event: Event) -> str:
    return "mta" if event.program in MTAS else "asked"
