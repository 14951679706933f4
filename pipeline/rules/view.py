"""What rules look at: the windows of one subject, as they stand at the end of one slot."""

from collections.abc import Callable
from functools import cached_property
from typing import Final

from pipeline.peers import NOBODY, unpack_network
from pipeline.windows import ACCUSED, ERROR, SEEN, SEND, SENDER, SLOT, Entry, resolution

HOUR: Final = 3600 // SLOT
KNOWN_AFTER: Final = 6 * HOUR  # a source is the owner's once it has been used for so long


class View:
    """Counts over windows that end at slot ``end``.

    ``peer``: the peer of the tally that is judged. ``home``: country code, two bytes.
    """

    def __init__(self, entries: list[Entry], end: int, peer: bytes, home: bytes) -> None:
        self.end = end
        self.peer = peer
        self.home = home
        self._entries = entries
        self._windows: dict[tuple[bytes, int], list[Entry]] = {}

    def window(self, kind: bytes, seconds: int) -> list[Entry]:
        """Entries of a kind within the last ``seconds``; for SEEN, peers whose latest success is."""
        found = self._windows.get((kind, seconds))
        if found is None:
            step = resolution(seconds)
            last = self.end // step
            first = last - seconds // (SLOT * step)
            found = [e for e in self._entries if e[1] == kind and first < e[0] // step <= last]
            self._windows[kind, seconds] = found
        return found

    @cached_property
    def seen(self) -> dict[bytes, Entry]:
        """Every peer that ever succeeded."""
        return {e[3]: e for e in self._entries if e[1] == SEEN}

    @cached_property
    def country_of(self) -> dict[bytes, bytes]:
        """The country of each peer."""
        return {e[3]: e[2] for e in self._entries if e[2] != b"\0\0"}

    @cached_property
    def history(self) -> int:
        """Slots since the first thing counted, at most a day."""
        return max((self.end - e[0] for e in self._entries if e[1] != SEEN), default=0)

    def known_sources(self) -> list[str]:
        """Networks from where the subject has ever succeeded, latest first."""
        known = sorted((e for e in self.seen.values() if e[3] != NOBODY), reverse=True)
        return [unpack_network(e[3]) for e in known]

    def is_owners(self, peer: bytes) -> bool:
        """Was the peer in use long before, or is it the first of several, and at home?"""
        entry = self.seen.get(peer)
        if entry is None:
            return False
        if self.end - _first(entry) >= KNOWN_AFTER:
            return True
        earliest = min(self.seen.values(), key=_first)
        return earliest is entry and len(self.seen) > 1 and entry[2] in (self.home, b"\0\0")


def _first(entry: Entry) -> int:
    return entry[4] | entry[5] << 16


Choose = Callable[[bytes], bool]
"""Country -> does it belong to the class that the limit is for?"""


def messages(view: View, window: int, choose: Choose) -> int:
    """Accepted from the authenticated account."""
    return sum(e[4] for e in view.window(SEND, window) if choose(e[2]))


def webmail(view: View, window: int, choose: Choose) -> int:
    """Of these, by webmail."""
    return sum(e[7] for e in view.window(SEND, window) if choose(e[2]))


def recipients(view: View, window: int, choose: Choose) -> int:
    """Of these messages."""
    return sum(e[5] for e in view.window(SEND, window) if choose(e[2]))


def failed(view: View, window: int, choose: Choose) -> int:
    """Recipients that do not exist."""
    return sum(e[6] for e in view.window(SEND, window) if choose(e[2]))


def errors(view: View, window: int, choose: Choose) -> int:
    """Password errors; those of SMTP AUTH, logged by MTA and SASL server alike, count once."""
    return _errors([e for e in view.window(ERROR, window) if choose(e[2])])


def guesses(view: View, window: int, choose: Choose) -> int:
    """Password errors from networks that the account was never used from."""
    return _errors([e for e in view.window(ERROR, window) if e[3] not in view.seen and choose(e[2])])


def peer_errors(view: View, window: int, choose: Choose) -> int:
    """Password errors of the very peer that now succeeded."""
    return _errors([e for e in view.window(ERROR, window) if e[3] == view.peer and choose(e[2])])


def _errors(found: list[Entry]) -> int:
    by_peer: dict[bytes, list[int]] = {}
    for entry in found:
        counts = by_peer.setdefault(entry[3], [0, 0, 0])
        counts[0] += entry[4]
        counts[1] += entry[5]
        counts[2] += entry[6]
    return sum(access + max(mta, sasl) for access, mta, sasl in by_peer.values())


def sources(view: View, window: int, choose: Choose) -> int:
    """Distinct networks that succeeded."""
    return sum(1 for e in view.window(SEEN, window) if choose(e[2]))


def countries(view: View, window: int, choose: Choose) -> int:
    """Distinct countries that succeeded."""
    return len({e[2] for e in view.window(SEEN, window) if choose(e[2])} - {b"\0\0"})


def failing(view: View, window: int, choose: Choose) -> int:
    """Distinct peers with password errors that never succeeded."""
    return len({e[3] for e in view.window(ERROR, window) if choose(e[2])} - view.seen.keys() - {NOBODY})


def senders(view: View, window: int, choose: Choose) -> int:
    """Distinct envelope senders that are not the account's own."""
    return len({e[3] for e in view.window(SENDER, window) if choose(e[2])})


def accusers(view: View, window: int, choose: Choose) -> int:
    """Distinct accounts, restricted themselves, that were attacked or misused from here."""
    return len({e[3] for e in view.window(ACCUSED, window) if choose(e[2])})


METRICS: dict[str, tuple[Callable[[View, int, Choose], int], str, str]] = {
    # metric: (function, the weight that one unit takes, phrase for people)
    "messages": (messages, "message", "{n} messages sent"),
    "webmail": (webmail, "webmail", "{n} messages sent by webmail"),
    "recipients": (recipients, "recipient", "mail to {n} recipients"),
    "failed": (failed, "failed", "mail to {n} recipients that do not exist"),
    "errors": (errors, "error", "{n} password errors"),
    "guesses": (guesses, "error", "{n} password errors from unknown networks"),
    "peer_errors": (peer_errors, "", "{n} password errors and then a success from the same network"),
    "sources": (sources, "source", "used from {n} networks"),
    "countries": (countries, "source", "used from {n} countries"),
    "failing_sources": (failing, "failing_source", "password errors from {n} unknown networks"),
    "failing_accounts": (failing, "failing_source", "password errors at {n} accounts"),
    "senders": (senders, "sender", "{n} foreign envelope senders"),
    "accusers": (accusers, "", "{n} restricted accounts were misused or attacked from here"),
}
