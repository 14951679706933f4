"""Asks the rules about a subject, and knows when they need not be asked. The only place that does.

**Margin.** To ask all rules at every tally would cost a hundred times more than to count it, and is hardly ever needed.
When the rules have been asked, each limit is used up to some share: 12 of 20 messages are 0.6. The margin is what is
left of the nearest one, 0.4. Each tally takes its share from it, in ``windows.state.add``: a message takes 1 / 20 where
twenty is the strictest limit on messages (``Weights``). Before the margin is used up, no limit can have been reached,
and nobody needs to be asked. This is exact, since every metric keeps a promise (``windows.metrics.Measure``): what is
added raises a count at most by its units, and time that passes only lowers it.

There are three margins, and each tally takes from all::

    sums    messages, errors ...: from windows that end now
    peers   distinct networks, senders ...: from windows that end now
    late    both, from all that is remembered: above any window, whenever it ends

A tally that is late falls into windows that ended before, and they may hold more than those that end now; so it asks
when the margin ``late`` is used up. One that comes in order does not look at that margin.

Rules that are not asked for some time are asked then: when a restriction ends (the count may still be above the
limit), or when their patience is over (a limit was reached, but the rule's condition did not hold).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.detect.decide import Verdict
from pipeline.rules import Active, RuleSet
from pipeline.rules.config import Limit
from pipeline.windows.layout import GRACE, LATENESS, NEVER, SLOT, entries, latest
from pipeline.windows.metrics import METRICS, PEERS, SUMS, UNNEEDED, Measure, Unit
from pipeline.windows.state import Weights, write_margins
from pipeline.windows.view import View
from schemas.tally import Tally

LONGEST_RECENT = 3600  # seconds: however long windows are, a peer that comes back after so long takes its share again
NEAR = 0.5  # share of a limit above which a window is looked at; below, what all windows can hold is near enough


@dataclass(frozen=True, slots=True)
class Question:
    """A rule, laid out to be asked quickly. ``limits``: group, limit, its metric, and which margin it is about.
    ``strictest``: of each metric the smallest count of any group or window, and which margin."""

    active: Active
    limits: tuple[tuple[str, Limit, Measure, int], ...]
    strictest: tuple[tuple[Measure, int, int], ...]


def question(active: Active) -> Question:
    """What to ask for a rule."""
    smallest: dict[str, int] = {}
    for _, limit in active.limits:
        smallest[limit.metric] = min(limit.count, smallest.get(limit.metric, limit.count))
    limits = ((group, limit, METRICS[limit.metric]) for group, limit in active.limits)
    strictest = ((METRICS[name], count) for name, count in smallest.items())
    return Question(
        active,
        tuple((group, limit, metric, metric.unit.margin) for group, limit, metric in limits),
        tuple((metric, count, metric.unit.margin) for metric, count in strictest),
    )


def weights_of(limits: Iterable[tuple[str, Limit]], home: str) -> tuple[Weights, Weights]:
    """What each unit takes of a margin, by the strictest of these limits, (group, limit) each: for what comes from at
    home or nobody knows where from, and for what comes from abroad."""
    limits = tuple(limits)
    at_home = (limit for group, limit in limits if group in ("all", "home", home))
    abroad = (limit for group, limit in limits if group not in ("home", home))
    return _strictest(at_home), _strictest(abroad)


def _strictest(limits: Iterable[Limit]) -> Weights:
    weights: dict[str, float] = {}
    shortest = {Unit.SOURCE: LONGEST_RECENT, Unit.FAILING_SOURCE: LONGEST_RECENT}
    for limit in limits:
        unit = METRICS[limit.metric].unit
        if unit.weight:
            weights[unit.weight] = max(weights.get(unit.weight, 0.0), 1.0 / limit.count)
        if unit in shortest:
            shortest[unit] = min(shortest[unit], limit.window)
    recent, failing_recent = (max(1, (window - LATENESS // 4) // SLOT) for window in shortest.values())
    return Weights(**weights, recent=recent, failing_recent=failing_recent)


class Judge:
    """Rules, ready to be asked: the questions for each kind of subject, and the weights of its tallies."""

    def __init__(self, rules: RuleSet) -> None:
        self.home = rules.home.encode()
        self.at_home = ("", rules.home)  # countries of tallies that the first of each two weights is for
        self.questions = {kind: tuple(map(question, active)) for kind, active in rules.by_kind.items()}
        self.weights = {
            kind: weights_of(((g, limit) for a in active for g, limit in a.limits), rules.home)
            for kind, active in rules.by_kind.items()
        }


def ask_at_next_tally(state: bytearray) -> None:
    """Whatever it adds: the rules are others, or a new day begins."""
    write_margins(state, 0.0, 0.0, 0.0, 0, NEVER)


class Look:
    """One look at a subject after a tally: ``ask`` each rule, say what is restricted, then ``close``.

    ``views``: the windows that the tally may have raised, by their ends, earliest first: those that end now, and for a
    tally that is late those that end with each entry since, up to ``LATENESS`` ago.
    """

    __slots__ = ("_accuse_until", "_ask_from", "_late", "_left", "_now", "_of", "_state", "views")

    def __init__(self, state: bytearray, tally: Tally, peer: bytes, home: bytes) -> None:
        self._state = state
        self._now, slot = latest(state), int(tally.at) // SLOT
        self._left = [1.0, 1.0, 1.0]
        self._late = 1.0
        self._ask_from, self._accuse_until = NEVER, 0
        found = entries(state)
        ends = [self._now]
        if slot < self._now - GRACE:
            first = max(slot, self._now - LATENESS // SLOT)
            ends = sorted({e[0] for e in found if first <= e[0] <= self._now} | {self._now})
        self.views = [View(found, end, peer, home, tally.successes > 0) for end in ends]
        self._of = {0: self.views}

    def since(self, slot: int) -> list[View]:
        """The views for a rule that is not asked about what was counted up to that slot (0: about all)."""
        views = self._of.get(slot)
        if views is None:
            views = self._of[slot] = [view.later(slot) for view in self.views]
        return views

    def ask(self, question: Question, since: int = 0) -> Verdict | None:
        """The rule's verdict, at the earliest end of a window where it fires. If it does not: notes what is left.

        ``since``: see the method of that name. What a peer did just before takes nothing of a margin when it does it
        again; where windows begin at ``since`` it may count there, so until that is long ago the rule is always asked.
        """
        if since and self._now - since <= LONGEST_RECENT // SLOT:
            self._ask_from = 0
        active, used, late = question.active, [0.0, 0.0, 0.0], 0.0
        condition = active.rule.condition
        for view in self.since(since):
            near, late = False, 0.0
            for metric, count, margin in question.strictest:
                share = metric.bound(view) / count
                if share >= NEAR:
                    near = True
                elif share > used[margin]:
                    used[margin] = share
                if share > late and margin != UNNEEDED:
                    late = share
            if not near:
                continue
            for group, limit, metric, margin in question.limits:
                observed = metric.bound(view)
                if observed >= limit.count * NEAR:
                    found = view.window(metric.entries, limit.window)
                    if group != "all" and found:
                        chosen = active.choose(group, view.countries, view.home)
                        if chosen is not view.countries:
                            found = [e for e in found if e[2] in chosen]
                    observed = metric.counts(view, found) if found else 0
                    if observed >= limit.count and (condition is None or condition(view, limit.window, active.config)):
                        known = view.known_sources() if active.rule.spares_known else ()
                        return Verdict(active, limit, observed, group, known)
                share = observed / limit.count
                if share > used[margin]:
                    used[margin] = share
        self._note(active.rule.patience, used, late)
        return None

    def rules_out(self, metric: Measure, count: int) -> bool:
        """Can no window hold so many, by what is remembered? Then that is noted, and spares asking. It is true of
        windows that ended before, too, so that the margin for what is late need not be lower."""
        views = self.views
        bound = metric.bound(views[0]) if len(views) == 1 else max([metric.bound(view) for view in views])
        if bound >= count:
            return False
        if bound:
            margin, left = metric.unit.margin, 1.0 - bound / count
            if left < self._left[margin]:
                self._left[margin] = left
        return True

    def _note(self, patience: int, used: list[float], late: float) -> None:
        """``used``: the largest share of a limit, by margin; ``late``: the same of all that is remembered. A share of 1
        is there if a condition did not hold, which may be otherwise at any tally."""
        left, reached = self._left, used[SUMS] >= 1.0 or used[PEERS] >= 1.0 or used[UNNEEDED] >= 1.0
        if reached and patience:
            self._ask_from = min(self._ask_from, self._now + patience // SLOT)
            return
        if reached:
            left[SUMS] = 0.0
        for margin in (SUMS, PEERS):
            if 1.0 - used[margin] < left[margin]:
                left[margin] = 1.0 - used[margin]
        if 1.0 - late < self._late:
            self._late = 1.0 - late

    def restricted(self, until: float) -> bool:
        """A restriction runs, and the rule is asked again in the slot in which it ends. Returns whether that is later.
        ``until``: seconds since 1970."""
        slot = int(until) // SLOT
        self._ask_from = min(self._ask_from, slot)
        return slot > self._now

    def accuse(self, until: float) -> None:
        """Until then the peer of every tally is to be looked at, whether it is to be accused."""
        self._accuse_until = max(self._accuse_until, int(until) // SLOT)

    def close(self) -> None:
        """Writes into the state how much may come before the next look."""
        write_margins(self._state, self._left[SUMS], self._left[PEERS], self._late, self._accuse_until, self._ask_from)
