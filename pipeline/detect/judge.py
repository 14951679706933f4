"""Asks one rule about one subject: does it fire, and if not, how near is it?"""

from pipeline.detect.decide import Verdict
from pipeline.rules import Active
from pipeline.windows.view import METRICS, View


def ask(active: Active, views: list[View]) -> tuple[Verdict | None, float]:
    """The rule's verdict at the earliest end of a window where it fires, or the largest share of a limit used."""
    largest = 0.0
    condition = active.rule.condition
    for view in views:
        shares = [view.bound(metric) / count for metric, count in active.strictest]
        if max(shares, default=0.0) < 0.5:  # no window comes near, which spares looking at each
            largest = max([largest, *shares])
            continue
        for group, limit in active.limits:
            bound = view.bound(limit.metric)
            if bound * 2 < limit.count:
                largest = max(largest, bound / limit.count)
                continue
            metric = METRICS[limit.metric]
            found = view.window(metric.kind, limit.window)
            if group != "all" and found:
                chosen = active.choose(group, view.countries, view.home)
                if chosen is not view.countries:
                    found = [e for e in found if e[2] in chosen]
            if not found:
                continue
            observed = metric.count(view, found)
            if observed >= limit.count and (condition is None or condition(view, limit.window, active.config)):
                known = view.known_sources() if active.rule.spares_known else ()
                return Verdict(active, limit, observed, group, known), 1.0
            largest = max(largest, observed / limit.count)
    return None, largest


def most(active: Active, view: View) -> float:
    """At most that share of a limit any window is at, whenever it ends; but for metrics always asked for."""
    return max((view.bound(metric) / count for metric, count in active.late), default=0.0)
