"""Asks the rules about a subject, and knows when they need not be asked. The only place that does.

**Margin.** To ask all rules at every tally would cost a hundred times more than to count it, and is hardly ever needed.
When the rules have been asked, each limit is used up to some share: 12 of 20 messages are 0.6. The margin is what is
left of the nearest one, 0.4. Each tally takes its share from it, in ``windows.state.add``: a message takes 1 / 20 where
twenty is the strictest limit on messages (``Weights``). Where a limit of 600 is the nearest, 40 messages are left: that
is as much margin as forty messages take. Before the margin is used up, no limit can have been reached,
and nobody needs to be asked. This is exact, since every metric keeps a promise (``windows.metrics.Measure``): what is
added raises a count at most by its units, and time that passes only lowers it.

There are three margins, and each tally takes from all::

    sums    messages, errors ...: from windows that end now
    peers   distinct networks, senders ...: from windows that end now
    late    both, from all that is remembered: above any window, whenever it ends

A tally that is late falls into windows that ended before, and they may hold more than those that end now; so it asks
when the margin ``late`` is used up. One that comes in order does not look at that margin. What is left by all windows
that a late tally may fall into is found out when one asks (``windows.sliding``), and stays true: every tally since took
its share, and no window that is over grows otherwise. It is given up where that is not sure: after a compaction, and
when a rule is asked that was not asked for some time.

Rules that are not asked for some time are asked then: when a restriction ends (the count may still be above the
limit), or when their patience is over (a limit was reached, but the rule's condition did not hold). Where a condition
does not hold, the rule may know how much must come before it can (``Rule.room``); else it is asked at every tally.
"""

from bisect import bisect_left

from pipeline.detect.decide import Verdict
from pipeline.detect.question import LONGEST_RECENT, Question, question, weights_of
from pipeline.rules import Active, RuleSet
from pipeline.rules.config import Limit
from pipeline.windows.layout import GRACE, LATENESS, NEVER, SLOT, Entry, entries, header
from pipeline.windows.metrics import PEERS, SUMS, UNNEEDED, Measure
from pipeline.windows.state import write_margins
from pipeline.windows.view import View, span
from schemas.tally import Tally

NEAR = 0.5  # share of a limit above which a window is looked at; below, what all windows can hold is near enough


class Judge:
    """Rules, ready to be asked: the questions for each kind of subject, and the weights of its tallies."""

    def __init__(self, rules: RuleSet) -> None:
        self.home = rules.home.encode()
        self.at_home = ("", rules.home)  # countries of tallies that the first of each two weights is for
        self.weights = {
            kind: weights_of(((g, limit) for a in active for g, limit in a.limits), rules.home)
            for kind, active in rules.by_kind.items()
        }
        self.questions = {
            kind: tuple(question(a, self.weights[kind], rules.home) for a in active)
            for kind, active in rules.by_kind.items()
        }


def ask_at_next_tally(state: bytearray) -> None:
    """Whatever it adds: the rules are others, or a new day begins."""
    write_margins(state, 0.0, 0.0, 0.0, 0, NEVER)


class Look:
    """One look at a subject after a tally: ``ask`` each rule, say what is restricted, then ``close``.

    ``view``: the windows that end now. ``ends``: of the windows that the tally may have raised, earliest first: now,
    and for a tally that is late each slot with entries since, up to ``LATENESS`` ago. Before those, up to the place
    ``first``, stand the ends of windows that a tally may raise that is later still: they are for the margin alone.
    """

    __slots__ = (
        "_accuse_until", "_ask_from", "_bounded", "_due", "_late", "_left", "_now", "_spans", "_state", "_views",
        "ends", "first", "view",
    )  # fmt: skip

    def __init__(self, state: bytearray, tally: Tally, peer: bytes, home: bytes) -> None:
        self._state = state
        before, slot, found = header(state), int(tally.at) // SLOT, entries(state)
        now = self._now = before.latest
        self._due = before.ask_from
        self.view = View(found, now, peer, home, tally.successes > 0)
        self._views: dict[int, View] = {}
        self._spans: dict[tuple[int, bytes, int, frozenset[bytes] | None], list[tuple[int, int]]] = {}
        self._left = [1.0, 1.0, 1.0]
        self._bounded = 0.0  # the largest share of a limit that any window can hold, by all that is remembered
        self._ask_from, self._accuse_until = NEVER, 0
        if slot >= now - GRACE:
            self.ends, self.first = [now], 0
            self._late = before.late if before.ask_from else 0.0
        else:
            oldest = now - LATENESS // SLOT
            filled = {e[0] for e in found if oldest <= e[0] < now}
            self.ends = sorted(filled | {oldest, now})
            self.first = max(bisect_left(self.ends, slot), int(oldest not in filled))
            self._late = 1.0

    def since(self, slot: int) -> View:
        """The view of now for a rule that is not asked about what was counted up to that slot (0: about all)."""
        if slot <= self.view.since:
            return self.view
        view = self._views.get(slot)
        if view is None:
            view = self._views[slot] = self.view.later(slot)
        return view

    def ask(self, question: Question, since: int = 0, quiet_until: float = 0.0) -> Verdict | None:
        """The rule's verdict, at the earliest end of a window where it fires. If it does not: notes what is left.

        ``quiet_until``: until then it was not asked, seconds since 1970.

        ``since``: see the method of that name. What a peer did just before takes nothing of a margin when it does it
        again; where windows begin at ``since`` it may count there, so until that is long ago the rule is always asked.
        """
        if since and self._now - since <= LONGEST_RECENT // SLOT:
            self._ask_from = 0
        view, used, bounded, near = self.since(since), Used(), 0.0, False
        for metric, count, margin in question.strictest:
            share = metric.bound(view) / count
            if share >= NEAR:
                near = True
            else:
                used.note(margin, share, share)
            if share > bounded:
                bounded = share
            if share > self._bounded and margin != UNNEEDED:
                self._bounded = share
        reached: list[tuple[int, int, int]] = []
        if near:
            for place, (group, limit, metric, margin, least, _) in enumerate(question.limits):
                now = most = metric.bound(view)
                if now >= limit.count * NEAR:
                    full, now, most = self._count(view, question.active, group, limit, metric)
                    reached += ((end, place, observed) for end, observed in full)
                used.note(margin, 1.0 - (limit.count - now) * least, 1.0 - (limit.count - most) * least)
        verdict = self._first_to_fire(question, view, sorted(reached), used) if reached else None
        if verdict is None:
            rule, due = question.active.rule, self._due
            waited = rule.patience and not used.reached and due <= self._now + rule.patience // SLOT
            if waited or int(quiet_until) // SLOT >= due or (rule.room and due <= self._now):
                used.kept = max(used.kept, bounded)  # it may not have been asked when the margin was found
            self._note(rule.patience, used)
        return verdict

    def _count(
        self, view: View, active: Active, group: str, limit: Limit, metric: Measure
    ) -> tuple[list[tuple[int, int]], int, int]:
        """What a limit counts: (place of an end, count there) of the windows that reach it, and of the others what the
        one that ends now holds (0 if it is none of them), and what none of them exceeds."""
        ends, after = self.ends, view.since + 1
        slots, found = view.in_order(metric.entries)
        begin = bisect_left(slots, max(span(ends[0], limit.window)[0], after))
        found = found[begin : bisect_left(slots, span(ends[-1], limit.window)[1], begin)]
        chosen = None if group == "all" else active.choose(group, view.countries, view.home)
        if chosen is not None and chosen is not view.countries:
            found = [e for e in found if e[2] in chosen]
        whole = metric.counts(view, found) if found else 0
        if whole < limit.count * NEAR:
            return [], whole, whole
        if len(ends) == 1:
            return ([(0, whole)], 0, 0) if whole >= limit.count else ([], whole, whole)
        spans = self._spans_of(found, after, limit.window, (view.since, metric.entries, limit.window, chosen))
        return metric.over(view, found, spans, limit.count)

    def _spans_of(
        self, found: list[Entry], after: int, seconds: int, key: tuple[int, bytes, int, frozenset[bytes] | None]
    ) -> list[tuple[int, int]]:
        """Where the windows of that length begin and end among the entries. ``key``: tells these from others."""
        spans = self._spans.get(key)
        if spans is None:
            spans = self._spans[key] = []
            slots, before = [e[0] for e in found], (-1, -1)
            for end in self.ends:
                window = span(end, seconds)
                if window != before:
                    before = window
                    begin = bisect_left(slots, max(window[0], after))
                    place = begin, bisect_left(slots, window[1], begin)
                spans.append(place)
        return spans

    def _first_to_fire(
        self, question: Question, view: View, reached: list[tuple[int, int, int]], used: "Used"
    ) -> Verdict | None:
        """``reached``: (place of an end, of a limit, count there), in order. Where the rule's condition does not hold,
        notes how much must come before it can."""
        rule, config = question.active.rule, question.active.config
        shares: dict[tuple[int, int], float] = {}  # by the place of a limit and where its window begins
        there = view
        for end, place, observed in reached:
            judged = end >= self.first
            group, limit, metric, margin, _, least = question.limits[place]
            is_now, window = end == len(self.ends) - 1, span(self.ends[end], limit.window)
            share = shares.get((place, window[0]))
            if share is None and (judged or rule.room or rule.momentary):
                if there.end != self.ends[end]:
                    there = view.at(self.ends[end])
                if group == "all":
                    there.counted[metric, *window] = observed
                holds = rule.condition is None or rule.condition(there, limit.window, config)
                if holds and judged:
                    known = there.known_sources() if rule.spares_known else ()
                    return Verdict(question.active, limit, observed, group, known)
                if rule.momentary and not holds:
                    share = shares[place, window[0]] = 0.0
                elif rule.room and not holds:
                    units, until = rule.room(there, limit.window, config)
                    if until > self._now and units * least > 0.0:
                        share = shares[place, window[0]] = 1.0 - units * least
                        self._ask_from = min(self._ask_from, until)
            used.reached = used.reached or (judged and share is None)
            used.note_reached(margin, 1.0 if share is None else share, is_now)
        return None

    def rules_out(self, metric: Measure, count: int) -> bool:
        """Can no window hold so many, by what is remembered? Then that is noted, and spares asking."""
        bound = metric.bound(self.view)
        if bound >= count:
            return False
        if bound:
            used = Used()
            used.note(metric.unit.margin, bound / count, bound / count)
            if metric.unit.margin != UNNEEDED:
                self._bounded = max(self._bounded, bound / count)
            self._note(0, used)
        return True

    def _note(self, patience: int, used: "Used") -> None:
        """What a rule leaves that did not fire."""
        if used.reached and patience:
            self._ask_from = min(self._ask_from, self._now + patience // SLOT)
            return
        left = self._left
        for margin in (SUMS, PEERS):
            if 1.0 - used.now[margin] < left[margin]:
                left[margin] = 1.0 - used.now[margin]
        late = 1.0 - (used.late if len(self.ends) > 1 else used.kept)
        if late < self._late:
            self._late = late
        self._bounded = max(self._bounded, used.late, used.kept)

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
        late = max(self._late, 1.0 - self._bounded)
        write_margins(self._state, self._left[SUMS], self._left[PEERS], late, self._accuse_until, self._ask_from)


class Used:
    """How much of the margins is used up, 0 to 1, by the limits of one rule: in windows that end ``now``, by margin,
    and in any that a ``late`` tally may fall into. ``kept``: what the margin for those must know if it is not found
    anew. ``reached``: the tally's windows hold as many as a limit."""

    __slots__ = ("kept", "late", "now", "reached")

    def __init__(self) -> None:
        self.now = [0.0, 0.0, 0.0]
        self.late = self.kept = 0.0
        self.reached = False

    def note(self, margin: int, now: float, late: float) -> None:
        """Of one limit, which takes from that margin."""
        if now > self.now[margin]:
            self.now[margin] = now
        if late > self.late and margin != UNNEEDED:
            self.late = late

    def note_reached(self, margin: int, share: float, is_now: bool) -> None:
        """Of one that was reached where the condition does not hold. 1: it may hold at any tally."""
        if is_now:
            self.note(SUMS if share >= 1.0 else margin, share, share)
            self.kept = max(self.kept, share)
        elif share > self.late:
            self.late = share
