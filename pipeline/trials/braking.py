"""What the brake would hold of a backtest.

A backtest counts accounts and networks of 16 portions apart; the brake counts all decisions of each partition of
``tallies`` in their order. So each portion says which decisions the brake is for, and how many accounts were active
hour by hour; here they are put in order, and the brakes of an installation are asked.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from pipeline.detect.brake import Brakes, WouldHold
from pipeline.rules.config import Brake
from schemas.enforcement import Decision
from schemas.times import DAY, HOUR


class Customer(NamedTuple):
    """A decision that the brake is for. ``place``: of the frame, 0 or of an accusation 1, of the tally in the frame."""

    place: tuple[int, int, int]
    decision: Decision


class AnyDecision(Brakes):
    """For a portion: whatever the brake is for is told."""

    def holds(self, limits: Brake, decision: Decision, at: float, active: Callable[[], int]) -> bool:
        """Always."""
        return True


def would_hold(
    customers: Iterable[Customer],
    active: Iterable[dict[int, int]],
    limits: Brake,
    partitions: int,
    start: float,
) -> WouldHold:
    """Of all portions. ``active``: of each, by hour since 1970, how many accounts were active in the day before.
    ``start``: what was issued before is counted, but not told; seconds since 1970."""
    timelines, brakes, held = list(active), Brakes(partitions), list[Decision]()
    for _, decision in sorted(customers, key=lambda customer: customer.place):
        at = decision.issued_at.timestamp()
        if brakes.holds(limits, decision, at, partial(_active, timelines, int(at) // HOUR)) and at >= start:
            held.append(decision)
    return WouldHold.of(held, partitions, brakes.most)


def _active(timelines: Iterable[dict[int, int]], hour: int) -> int:
    """Of all portions, each as it was when it was last counted within a day."""
    hours = range(hour, hour - DAY // HOUR, -1)
    return sum(next((counted[h] for h in hours if h in counted), 0) for counted in timelines)
