"""What limits can be about: each metric of the rules file, and all that the rest must know of it.

A metric of your own is one more entry in ``METRICS``; docs/add-a-rule.md adds one.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from operator import itemgetter
from typing import Final

from pipeline.windows.layout import ACCUSED, ERROR, NOWHERE, SEEN, SEND, SENDER, Entry
from pipeline.windows.peers import NOBODY
from pipeline.windows.sliding import fullest
from pipeline.windows.view import Counts, View, span

SUMS, PEERS, UNNEEDED = 0, 1, 2
"""Which of a subject's margins a unit takes its share of; see ``detect.judge``. None is needed where rules are asked
whenever a metric can have grown."""


class Unit(Enum):
    """By what one tally can make a metric grow, at most. Each has a weight of its own in ``state.Weights``."""

    MESSAGE = "message", SUMS
    WEBMAIL = "webmail", SUMS
    RECIPIENT = "recipient", SUMS
    FAILED = "failed", SUMS
    """A recipient that does not exist."""
    ERROR = "error", SUMS
    SOURCE = "source", PEERS
    """A peer that succeeds, and has not just succeeded before."""
    FAILING_SOURCE = "failing_source", PEERS
    """A peer with password errors, and without any just before."""
    SENDER = "sender", PEERS
    PEER_ERROR = "peer_error", UNNEEDED
    """A password error, once its peer succeeds: that always asks where there are as many as a limit."""
    ACCUSATION = "", UNNEEDED
    """An accusation always asks."""

    def __init__(self, weight: str, margin: int) -> None:
        self.weight = weight
        self.margin = margin


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """A metric: ``counts`` of the ``entries`` of one kind (SEND, ERROR, SEEN, SENDER, ACCUSED) within a window.

    ``unit`` says whether it is a sum (``Unit.MESSAGE`` ...), a count of distinct peers (``Unit.SOURCE`` ...) or one
    that is always asked for, and what share of a limit a tally takes: 1 / limit for each unit in it. ``one`` and
    ``many`` tell people what was counted, with ``{n}`` for the number.

    Rules are not asked at every tally, but when enough has been added (``detect.judge``). So a metric must keep a
    promise, else limits are passed unseen:

    * When time passes and nothing is added, its count in a window of any length stays or falls. (Peers that are
      forgotten may raise what is counted of unknown ones; compaction asks the rules.)
    * A tally raises it by no more than the tally has of its unit.
    * Of more entries it counts no less: never more in a window than over all that is remembered. Of the same entries it
      counts the same, whenever the window ends.

    What sums counters, or counts distinct peers, keeps it. A share, a mean, or "no more than so many" does not: that is
    for the ``condition`` of a rule.
    """

    entries: bytes
    counts: Counts
    unit: Unit
    one: str
    many: str

    def within(self, view: View, window: int) -> int:
        """Its count within the last ``window`` seconds."""
        key = self, *span(view.end, window)
        found = view.counted.get(key)
        if found is None:
            found = view.counted[key] = self.counts(view, view.window(self.entries, window))
        return found

    def over(
        self, view: View, found: list[Entry], spans: Sequence[tuple[int, int]], limit: int
    ) -> tuple[list[tuple[int, int]], int, int]:
        """Of many windows, the ``spans`` of ``found``: (place, count) of those that hold ``limit`` or more; of the
        others, what the last one holds (0 if it is none of them), and a number that none exceeds, see ``fullest``."""
        if isinstance(self.counts, Sum):
            counted = self.counts.each(view, found, spans)
            reached = [(place, count) for place, count in enumerate(counted) if count >= limit]
            most, last = max((count for count in counted if count < limit), default=0), counted[-1]
        else:
            counts = self.counts
            places, most = fullest(lambda first, after: counts(view, found[first:after]), spans, limit)
            reached = [(place, counts(view, found[slice(*spans[place])])) for place in places]
            last = counts(view, found[slice(*spans[-1])])
        return reached, last if last < limit else 0, most

    def bound(self, view: View) -> int:
        """At most so much any window can hold, whenever it ends: its count over all that is remembered."""
        bound = view.bounds.get(self)
        if bound is None:
            bound = view.bounds[self] = self.counts(view, view.remembered(self.entries))
        return bound

    def told(self, count: int) -> str:
        """For people: ``1 message sent``, ``2 messages sent``."""
        return (self.one if count == 1 else self.many).format(n=count)


class Sum:
    """A metric's ``counts`` that adds up counters of the entries, 0 to 3, and makes one number of the sums.

    ``peers``: whose entries it counts, or if not ``inside``, all others'.
    """

    def __init__(
        self,
        *counters: int,
        total: Callable[..., int] = lambda counted: counted,
        peers: Callable[[View], Container[bytes]] | None = None,
        inside: bool = True,
    ) -> None:
        self._counters = tuple(itemgetter(4 + counter) for counter in counters)
        self._total, self._peers, self._inside = total, peers, inside

    def __call__(self, view: View, found: list[Entry]) -> int:
        """See ``Counts``."""
        if self._peers is not None:
            peers, inside = self._peers(view), self._inside
            found = [e for e in found if (e[3] in peers) is inside]
        return self._total(*[sum(map(counter, found)) for counter in self._counters])

    def each(self, view: View, found: list[Entry], spans: Sequence[tuple[int, int]]) -> list[int]:
        """What it counts of ``found[first:after]``, for each span, by running sums."""
        if self._peers is not None:
            peers, inside = self._peers(view), self._inside
            found = [e if (e[3] in peers) is inside else _NOTHING for e in found]
        sums = [list(accumulate(map(counter, found), initial=0)) for counter in self._counters]
        return list(map(self._total, *([of[after] - of[first] for first, after in spans] for of in sums)))


_NOTHING: Final[Entry] = (0, b"", b"", b"", 0, 0, 0, 0)


def _errors(access: int, mta: int, sasl: int) -> int:
    """Password errors; those of SMTP AUTH, logged by MTA and SASL server alike, count once."""
    return access + max(mta, sasl)


def _peers(_: View, found: list[Entry]) -> int:
    return len({e[3] for e in found})


def _never_successful(view: View, found: list[Entry]) -> int:
    return len({e[3] for e in found} - view.seen.keys() - {NOBODY})


_ERRORS_OF_STRANGERS: Final = Sum(0, 1, 2, total=_errors, peers=lambda view: view.seen, inside=False)

METRICS: Final[dict[str, Measure]] = {
    "messages": Measure(SEND, Sum(0), Unit.MESSAGE, "{n} message sent", "{n} messages sent"),
    "webmail": Measure(SEND, Sum(3), Unit.WEBMAIL, "{n} message sent by webmail", "{n} messages sent by webmail"),
    "recipients": Measure(SEND, Sum(1), Unit.RECIPIENT, "mail to {n} recipient", "mail to {n} recipients"),
    "failed": Measure(
        SEND,
        Sum(2),
        Unit.FAILED,
        "mail to {n} recipient that does not exist",
        "mail to {n} recipients that do not exist",
    ),
    "errors": Measure(ERROR, Sum(0, 1, 2, total=_errors), Unit.ERROR, "{n} password error", "{n} password errors"),
    "guesses": Measure(
        ERROR,
        _ERRORS_OF_STRANGERS,
        Unit.ERROR,
        "{n} password error from an unknown network",
        "{n} password errors from unknown networks",
    ),
    "strange_errors": Measure(
        ERROR,
        _ERRORS_OF_STRANGERS,
        Unit.ERROR,
        "{n} password error at an account that was never used from there",
        "{n} password errors at accounts that were never used from there",
    ),
    "peer_errors": Measure(
        ERROR,
        Sum(0, 1, 2, total=_errors, peers=lambda view: (view.peer,)),
        Unit.PEER_ERROR,
        "{n} password error and then a success from the same network",
        "{n} password errors and then a success from the same network",
    ),
    "sources": Measure(
        SEEN, lambda _, found: len(found), Unit.SOURCE, "used from {n} network", "used from {n} networks"
    ),
    "countries": Measure(
        SEEN,
        lambda _, found: len({e[2] for e in found} - {NOWHERE}),
        Unit.SOURCE,
        "used from {n} country",
        "used from {n} countries",
    ),
    "failing_sources": Measure(
        ERROR,
        _never_successful,
        Unit.FAILING_SOURCE,
        "password errors from {n} unknown network",
        "password errors from {n} unknown networks",
    ),
    "failing_accounts": Measure(
        ERROR,
        _never_successful,
        Unit.FAILING_SOURCE,
        "password errors at {n} account",
        "password errors at {n} accounts",
    ),
    "senders": Measure(SENDER, _peers, Unit.SENDER, "{n} foreign envelope sender", "{n} foreign envelope senders"),
    "accusers": Measure(
        ACCUSED,
        _peers,
        Unit.ACCUSATION,
        "used against {n} account that had to be restricted",
        "used against {n} accounts that had to be restricted",
    ),
}
