"""What rules look at: the windows of one subject, as they stand at the end of one slot."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Final

from pipeline.windows.peers import NOBODY, unpack_network
from pipeline.windows.state import ACCUSED, ERROR, SEEN, SEND, SENDER, SLOT, Entry, resolution

HOUR: Final = 3600 // SLOT
KNOWN_AFTER: Final = 6 * HOUR  # a source is the owner's once it has been used for so long
NOWHERE: Final = b"\0\0"


class View:
    """Counts over windows that end at slot ``end``.

    ``peer``: the peer of the tally that is judged; ``succeeded``: whether that is a success. ``home``: country code,
    two bytes.
    """

    def __init__(self, entries: list[Entry], end: int, peer: bytes, home: bytes, succeeded: bool = False) -> None:
        self.end = end
        self.peer = peer
        self.succeeded = succeeded
        self.home = home
        self._entries = entries
        self._windows: dict[tuple[bytes, int], list[Entry]] = {}
        self._bounds: dict[str, int] = {}

    @cached_property
    def _by_kind(self) -> dict[bytes, list[Entry]]:
        by_kind: dict[bytes, list[Entry]] = {SEND: [], ERROR: [], SEEN: [], SENDER: [], ACCUSED: []}
        for entry in self._entries:
            by_kind[entry[1]].append(entry)
        return by_kind

    def window(self, kind: bytes, seconds: int) -> list[Entry]:
        """Entries of a kind within the last ``seconds``; for SEEN, peers whose latest success is."""
        found = self._windows.get((kind, seconds))
        if found is None:
            step = resolution(seconds)
            until = (self.end // step + 1) * step
            since = until - seconds // SLOT
            found = [e for e in self._by_kind[kind] if since <= e[0] < until]
            self._windows[kind, seconds] = found
        return found

    def bound(self, metric: str) -> int:
        """At most so much any window can hold of a metric: its count over all that is remembered."""
        bound = self._bounds.get(metric)
        if bound is None:
            of = METRICS[metric]
            bound = self._bounds[metric] = of.count(self, self._by_kind[of.kind])
        return bound

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
        """Slots since the first thing counted, or the first success remembered, at most a day."""
        firsts = (_first(e) if e[1] == SEEN else e[0] for e in self._entries)
        return min(24 * HOUR, max((self.end - first for first in firsts), default=0))

    @cached_property
    def peers(self) -> frozenset[bytes]:
        """Every peer of anything counted."""
        return frozenset(e[3] for e in self._by_kind[SEEN] + self._by_kind[ERROR])

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
        return entry is self._earliest and len(self.seen) > 1 and entry[2] in (self.home, NOWHERE)

    @cached_property
    def _earliest(self) -> Entry:
        return min(self.seen.values(), key=_first)


_COUNTERS: Final = (itemgetter(4), itemgetter(5), itemgetter(6), itemgetter(7))


def _first(entry: Entry) -> int:
    return entry[4] | entry[5] << 16


def sum_errors(found: list[Entry]) -> int:
    """Password errors; those of SMTP AUTH, logged by MTA and SASL server alike, count once."""
    access, mta, sasl = (int(sum(map(counter, found))) for counter in _COUNTERS[:3])
    return access + max(mta, sasl)


def failing(view: View, found: list[Entry]) -> int:
    """Distinct peers with password errors that never succeeded."""
    return len({e[3] for e in found} - view.seen.keys() - {NOBODY})


@dataclass(frozen=True)
class Metric:
    """A count over the entries of one kind within a window. ``unit``: which of ``Weights`` it takes its share by, ""
    for metrics that are always asked for. ``phrase``: for people, with ``{n}``, and ``{s}`` for the plural."""

    kind: bytes
    count: Callable[[View, list[Entry]], int]
    unit: str
    phrase: str


METRICS: Final[dict[str, Metric]] = {
    "messages": Metric(SEND, lambda _, found: sum(map(_COUNTERS[0], found)), "message", "{n} message{s} sent"),
    "webmail": Metric(
        SEND, lambda _, found: sum(map(_COUNTERS[3], found)), "webmail", "{n} message{s} sent by webmail"
    ),
    "recipients": Metric(SEND, lambda _, found: sum(map(_COUNTERS[1], found)), "recipient", "mail to {n} recipient{s}"),
    "failed": Metric(
        SEND, lambda _, found: sum(map(_COUNTERS[2], found)), "failed", "mail to {n} recipients that do not exist"
    ),
    "errors": Metric(ERROR, lambda _, found: sum_errors(found), "error", "{n} password error{s}"),
    "guesses": Metric(
        ERROR,
        lambda view, found: sum_errors([e for e in found if e[3] not in view.seen]),
        "error",
        "{n} password error{s} from unknown networks",
    ),
    "peer_errors": Metric(
        ERROR,
        lambda view, found: sum_errors([e for e in found if e[3] == view.peer]),
        "peer_error",
        "{n} password error{s} and then a success from the same network",
    ),
    "sources": Metric(SEEN, lambda _, found: len(found), "source", "used from {n} network{s}"),
    "countries": Metric(
        SEEN, lambda _, found: len({e[2] for e in found} - {NOWHERE}), "source", "used from {n} countries"
    ),
    "failing_sources": Metric(ERROR, failing, "failing_source", "password errors from {n} unknown network{s}"),
    "failing_accounts": Metric(ERROR, failing, "failing_source", "password errors at {n} account{s}"),
    "senders": Metric(SENDER, lambda _, found: len({e[3] for e in found}), "sender", "{n} foreign envelope sender{s}"),
    "accusers": Metric(
        ACCUSED,
        lambda _, found: len({e[3] for e in found}),
        "",
        "used against {n} account{s} that had to be restricted",
    ),
}
