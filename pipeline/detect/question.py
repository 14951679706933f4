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
    """A rule, laid out to be asked quickly. ``limits``: group, limit, its metric, which margin it is about, and what
    one unit takes of that at least. ``strictest``: of each metric the smallest count of any group or window, and which
    margin."""

    active: Active
    limits: tuple[tuple[str, Limit, Measure, int, float], ...]
    strictest: tuple[tuple[Measure, int, int], ...]


def question(active: Active, weights: Iterable[Weights] = ()) -> Question:
    """What to ask for a rule. ``weights``: one of them weighs the tallies that come; none: nobody knows."""
    smallest: dict[str, int] = {}
    for _, limit in active.limits:
        smallest[limit.metric] = min(limit.count, smallest.get(limit.metric, limit.count))
    limits = ((group, limit, METRICS[limit.metric]) for group, limit in active.limits)
    strictest = ((METRICS[name], count) for name, count in smallest.items())
    known = tuple(weights)

    def least(unit: Unit) -> float:
        return min((getattr(of, unit.weight) for of in known if unit.weight), default=0.0)

    return Question(
        active,
        tuple((group, limit, metric, metric.unit.margin, least(metric.unit)) for group, limit, metric in limits),
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
