"""Limits from data: the smallest that hurt few enough honest subjects, and how sure that is."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.networks import network
from pipeline.rules import RULES
from pipeline.rules.config import Limit
from pipeline.trials.cases import Case
from pipeline.trials.maxima import Seen
from schemas.tally import CountedKind

Certainty = Literal["good", "rough", "too little data"]

BUDGET = 1 / 10_000  # part of honest subjects that a limit may hit on a day, where nobody says another
ENOUGH = 10  # subject-days beyond the limit, from where on it is more than a guess
WEEK = 7  # days, of which each may be another
INTERVAL = (0.025, 0.975)

Suspects = Mapping[tuple[CountedKind, str], Collection[str]]
"""(kind, subject) -> rules that restrict it."""


Honest = Callable[[Seen], NDArray[np.bool_]]
"""Which of the subjects are honest, by number."""


def honest(suspects: Suspects, cases: Iterable[Case]) -> Honest:
    """Whom to take for honest: known honest ones, and all others but known abused ones, and those that a rule restricts
    that counts something else than the one looked at: limits in force on the very same thing must not decide it."""
    labels = {(case.network is not None, _written(case)): case.label == "honest" for case in cases}

    def mask(seen: Seen) -> NDArray[np.bool_]:
        found = np.ones(len(seen.names), bool)
        metrics = set(seen.watched.active.rule.metrics)
        same = {rule.id for rule in RULES if metrics.intersection(rule.metrics)}
        for (kind, subject), rules in suspects.items():
            if kind == seen.watched.kind and set(rules) - same:
                found[seen.names[subject]] = False
        for (is_network, subject), label in labels.items():
            if is_network == (seen.watched.kind == "ip") and subject in seen.names:
                found[seen.names[subject]] = label
        return found

    return mask


def _written(case: Case) -> str:
    """The case as the subject that counts for it."""
    if case.network is not None and case.network.prefixlen == case.network.max_prefixlen:
        return network(str(case.network.network_address))
    return case.subject


@dataclass(frozen=True)
class Habits:
    """What subjects do. ``seen``: of each limit of the rules. ``days``: how many there are data of. ``lines``: read;
    ``doubled``: those of them that were in several files."""

    seen: list[Seen]
    suspects: Suspects
    days: int
    lines: int
    doubled: int = 0


@dataclass(frozen=True)
class Suggestion:
    """What data say of one limit.

    ``count``: the smallest that at most the wanted part of honest subject-days reaches; ``low``, ``high``: a 95 %
    interval of it, from drawing subjects again (they are drawn whole, as one subject's days are alike). With too little
    data (for the budget, or hardly anybody did what the limit counts) ``count`` says nothing, and ``high`` is None.
    ``reached``: honest subject-days that reach the limit now in force. ``needed``: subject-days for certainty.
    """

    rule: str
    kind: CountedKind
    group: str
    limit: Limit
    count: int
    low: int
    high: int | None
    subjects: int
    subject_days: int
    days: int
    reached: int
    most: int
    needed: int
    certainty: Certainty

    @property
    def advised(self) -> int:
        """What the rules file should say: with too little data, what it says now."""
        return self.limit.count if self.certainty == "too little data" else self.count


def suggest_all(habits: Habits, cases: Iterable[Case], budget: float, seed: int = 0) -> list[Suggestion]:
    """For every limit that was watched, see ``suggest``."""
    is_honest = honest(habits.suspects, cases)
    return [suggest(seen, is_honest, habits.days, budget, seed) for seen in habits.seen]


def suggest(seen: Seen, is_honest: Honest, days: int, budget: float, seed: int, draws: int = 200) -> Suggestion:
    """A limit for ``budget``: the part of honest subject-days that may reach it, above 0, below 1.

    ``days``: how many there are data of. The same ``seed`` gives the same interval.
    """
    mask = is_honest(seen)
    weights = np.where(mask, seen.days, 0)
    total = int(weights.sum())
    kept = mask[seen.subjects]
    order = np.argsort(-seen.most[kept], kind="stable")
    most, subjects = seen.most[kept][order], seen.subjects[kept][order]
    count = _limit(most, np.ones(len(most), np.int64), budget * total)
    certainty, high, low = _certainty(budget * total, len(most), days), None, count
    if certainty != "too little data":
        low, high = _interval(most, subjects, weights, mask, budget, np.random.default_rng(seed), draws)
    limit = seen.watched.limit
    return Suggestion(
        seen.watched.active.rule.id,
        seen.watched.kind,
        seen.watched.group,
        limit,
        count,
        low,
        high,
        int(mask.sum()),
        total,
        days,
        int((most >= limit.count).sum()),
        int(most[0]) if len(most) else 0,
        math.ceil(ENOUGH / budget),
        certainty,
    )


def _certainty(expected: float, seen: int, days: int) -> Certainty:
    """``expected``: subject-days that may lie beyond the limit; ``seen``: that did what it counts at all."""
    if expected < 1 or seen < ENOUGH:
        return "too little data"
    return "good" if expected >= ENOUGH and days >= WEEK else "rough"


def _limit(most: NDArray[np.int64], weights: NDArray[np.int64], allowed: float) -> int:
    """One above the largest that more than ``allowed`` reach. ``most`` falls."""
    beyond = np.flatnonzero(np.cumsum(weights) > allowed + 1e-9)
    return int(most[beyond[0]]) + 1 if len(beyond) else 1


def _interval(
    most: NDArray[np.int64],
    subjects: NDArray[np.int64],
    days: NDArray[np.int64],
    mask: NDArray[np.bool_],
    budget: float,
    random: np.random.Generator,
    draws: int,
) -> tuple[int, int]:
    pool = np.flatnonzero(mask)
    top = min(len(most), int(20 * budget * days.sum()) + 1000)  # no draw reaches further down
    limits = []
    for _ in range(draws):
        times = np.bincount(pool[random.integers(0, len(pool), len(pool))], minlength=len(mask))
        limits.append(_limit(most[:top], times[subjects[:top]], budget * float(times @ days)))
    low, high = np.quantile(limits, INTERVAL, method="nearest")
    return int(low), int(high)


def limit_text(limit: Limit, count: int) -> str:
    """As the rules file writes it."""
    for size, unit in ((3600, "h"), (60, "m")):
        if limit.window % size == 0:
            return f"{count} {limit.metric} / {limit.window // size}{unit}"
    return f"{count} {limit.metric} / {limit.window}s"


def as_toml(suggestions: Sequence[Suggestion], budget: float) -> str:
    """A rules file, to be laid over the one in force. Limits with too little data stay what they are; where there are
    too little data for all limits of a class, it is left out."""
    classes: dict[tuple[str, str], dict[Limit, list[Suggestion]]] = {}
    for one in suggestions:
        classes.setdefault((one.rule, one.group), {}).setdefault(one.limit, []).append(one)
    out = [f"# Each limit alone is reached by at most {budget:g} of honest subjects a day, as far as the data tell."]
    table = ""
    for (rule, group), limits in classes.items():
        if all(one.certainty == "too little data" for of_limit in limits.values() for one in of_limit):
            continue
        if rule != table:
            out += ["", f"[rules.{rule}.limits]"]
            table = rule
        out += [f"{group} = [", *(_line(of_limit) for of_limit in limits.values()), "]"]
    if not table:
        out.append(f"# Too little data for any limit: {math.ceil(1 / budget):,} subject-days are the least.")
    return "\n".join(out) + "\n"


def _line(kinds: Sequence[Suggestion]) -> str:
    """One limit, whatever kinds of subject it is for: the largest that any of them needs."""
    limit = kinds[0].limit
    sure = [one for one in kinds if one.certainty != "too little data"]
    count = max(one.advised for one in kinds)
    if not sure:
        return f'  "{limit_text(limit, count)}", # as it was: too little data'
    best = max(sure, key=lambda one: one.count)
    return f'  "{limit_text(limit, count)}", # was {limit.count}; {best.low} to {best.high}, {best.certainty}'
