"""Rules, laid out to be asked quickly, and what the tallies take of the margins that ``detect.judge`` tells of."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.rules import Active
from pipeline.rules.config import Limit
from pipeline.windows.layout import LATENESS, SLOT
from pipeline.windows.metrics import METRICS, Measure, Unit
from pipeline.windows.state import Weights

LONGEST_RECENT = 3600  # seconds: however long windows are, a peer that comes back after so long takes its share again


@dataclass(frozen=True, slots=True)
class Question:
    """A rule, laid out to be asked quickly.

    ``limits``: group, limit, its metric, which margin it is about, and what one more takes of that at least: one that
    the limit counts, and any at all. ``strictest``: of each metric the smallest count of any group or window, and which
    margin.
    """

    active: Active
    limits: tuple[tuple[str, Limit, Measure, int, float, float], ...]
    strictest: tuple[tuple[Measure, int, int], ...]


def question(active: Active, weights: tuple[Weights, Weights] | None = None, home: str = "") -> Question:
    """What to ask for a rule. ``weights``: of what comes from at ``home`` and from abroad, by which all tallies are
    weighed; None: nobody knows, but that they do not weigh less than the rule's limits."""
    smallest: dict[str, int] = {}
    for _, limit in active.limits:
        smallest[limit.metric] = min(limit.count, smallest.get(limit.metric, limit.count))
    limits = []
    for group, limit in active.limits:
        metric = METRICS[limit.metric]
        least, of_any = 1.0 / limit.count, 0.0
        if weights is not None and metric.unit.weight:
            at_home, abroad = (getattr(of, metric.unit.weight) for of in weights)
            of_any = min(at_home, abroad)
            least = of_any if group == "all" else at_home if group in ("home", home) else abroad
        limits.append((group, limit, metric, metric.unit.margin, least, of_any))
    strictest = ((METRICS[name], count) for name, count in smallest.items())
    return Question(active, tuple(limits), tuple((metric, count, metric.unit.margin) for metric, count in strictest))


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
