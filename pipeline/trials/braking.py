"""What the brake would hold of a backtest.

A backtest counts accounts and networks of 16 portions apart; the brake counts all decisions of each partition of
``tallies`` in their order. So each portion says which decisions the brake is for, and here they are put in order, and
the brakes of an installation are asked. Only if they might hold anything, accounts are counted once more, for how many
were active.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import NamedTuple

from pipeline.detect.brake import Brakes, WouldHold
from pipeline.rules.config import Brake
from schemas.enforcement import Decision
from schemas.times import HOUR


class Customer(NamedTuple):
    """A decision that the brake is for. ``place``: of the frame, 0 or of an accusation 1, of the tally in the frame."""

    place: tuple[int, int, int]
    decision: Decision


class Moment(NamedTuple):
    """``number``: of a frame; ``at``: seconds since 1970."""

    number: int
    at: float


class AnyDecision(Brakes):
    """For a portion: whatever the brake is for is told."""

    def holds(self, limits: Brake, decision: Decision, at: float, active: Callable[[], int]) -> bool:
        """Always."""
        return True


def would_hold(
    customers: Sequence[Customer], active: Mapping[int, int], limits: Brake, partitions: int, start: float
) -> WouldHold:
    """Of all portions. ``active``: how many accounts were active in the day before, by hour since 1970; 0 if not told.
    ``start``: what was issued before is counted, but not told; seconds since 1970."""
    brakes, held = Brakes(partitions), list[Decision]()
    for _, decision in _in_order(customers):
        at = decision.issued_at.timestamp()
        if brakes.holds(limits, decision, at, partial(_active, active, int(at) // HOUR)) and at >= start:
            held.append(decision)
    return WouldHold.of(held, partitions, brakes.most)


def _active(active: Mapping[int, int], hour: int) -> int:
    return active.get(hour, 0)


def moments(customers: Sequence[Customer], limits: Brake, partitions: int) -> list[Moment]:
    """When the active accounts are to be counted: in each hour, at its first decision. Mostly never: where the brake
    would hold nothing whatever their number is."""
    if not would_hold(customers, {}, limits, partitions, -inf).rules:
        return []
    found: dict[int, Moment] = {}
    for place, decision in _in_order(customers):
        at = decision.issued_at.timestamp()
        found.setdefault(int(at) // HOUR, Moment(place[0], at))
    return list(found.values())


def by_hour(moments: Sequence[Moment], counted: Iterable[Sequence[int]]) -> dict[int, int]:
    """What all portions counted at these moments, for ``would_hold``."""
    return {int(moment.at) // HOUR: sum(of) for moment, *of in zip(moments, *counted, strict=True)}


def _in_order(customers: Iterable[Customer]) -> list[Customer]:
    return sorted(customers, key=lambda customer: customer.place)
