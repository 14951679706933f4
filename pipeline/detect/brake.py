"""The brake: a rule gone wild must not stop everybody.

Of each rule and hour of event time it counts decisions about subjects with a good history: accounts and networks that
were used well for more than a day. Above what is usual further ones are held: they travel in shadow mode, marked, until
an operator lets them go. Whoever only guesses is never held, nor what restricts only strangers' logins, since neither
hurts a customer. Counts are of one partition, and saved with it.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from pipeline.detect.decide import Verdict
from pipeline.rules.config import Brake
from pipeline.windows.layout import ACCUSED, ERROR, SEEN, SLOT, Entry, first_slot
from pipeline.windows.metrics import METRICS
from schemas.enforcement import HELD_BY, Decision
from schemas.tally import Tally
from schemas.times import DAY, HOUR

WEEK: Final = 7 * DAY // HOUR
WELL: Final = DAY  # seconds between a success and a finding that make a good history


class Count(msgspec.Struct, array_like=True):
    """Decisions of one rule in one hour: ``passed``, and how many were ``held`` besides."""

    passed: int = 0
    held: int = 0


class BrakeState(msgspec.Struct, array_like=True):
    """``hours``: rule -> hour since 1970 -> counts. ``active``: accounts active in the day before that hour."""

    hours: dict[str, dict[int, Count]] = {}
    active: tuple[int, int] = (0, 0)


class HourlyBrake:
    """Counts, and says what is to be held."""

    def __init__(self) -> None:
        self.state = BrakeState()

    def holds(self, limits: Brake, rule: str, at: float, active: Callable[[], int]) -> bool:
        """One more decision of a rule that the brake is for, at event time ``at``: is it to be held? Counts it.

        ``active``: how many accounts were active in the day before; asked once in an hour, if at all.
        """
        if not limits.hourly:
            return False
        hours, hour = self.state.hours.setdefault(rule, {}), int(at) // HOUR
        for old in [known for known in hours if known < hour - WEEK]:
            del hours[old]
        count = hours.setdefault(hour, Count())
        held = count.passed >= max(limits.hourly, limits.times * self._usual(hours, hour))
        if not held and self._in_day(hour) >= limits.hourly:
            if self.state.active[0] != hour:
                self.state.active = hour, active()
            held = self._in_day(hour) >= max(limits.hourly, limits.share * self.state.active[1])
        if held:
            count.held += 1
        else:
            count.passed += 1
        return held

    def dump(self) -> bytes:
        """To be saved; empty if there is nothing."""
        return msgspec.msgpack.encode(self.state) if self.state.hours else b""

    def load(self, dumped: bytes) -> None:
        """Inverse of ``dump``. Raises msgspec.DecodeError."""
        self.state = msgspec.msgpack.decode(dumped, type=BrakeState)

    @staticmethod
    def _usual(hours: dict[int, Count], hour: int) -> float:
        """Decisions in an hour, on the mean of the last week, or since the first one; 0 within the first day."""
        before = {known: count.passed for known, count in hours.items() if known < hour}
        length = hour - min(before, default=hour)
        return sum(before.values()) / length if length >= DAY // HOUR else 0.0

    def _in_day(self, hour: int) -> int:
        since = hour - DAY // HOUR
        return sum(c.passed for hours in self.state.hours.values() for h, c in hours.items() if since < h <= hour)


def hurts_customers(verdict: Verdict, tally: Tally, found: Iterable[Entry]) -> bool:
    """Is a decision about the tally's subject one that the brake is for? ``found``: all that is remembered of it."""
    rule, metric = verdict.active.rule, METRICS[verdict.limit.metric]
    if rule.spares_known or verdict.active.config.action == "notify" or verdict.active.config.mode == "shadow":
        return False
    if tally.kind not in {"account", "ip"} or (tally.kind == "ip" and metric.entries in (ERROR, ACCUSED)):
        return False
    until = int(tally.at - WELL) // SLOT
    return any(entry[1] == SEEN and first_slot(entry) <= until for entry in found)


def held(decision: Decision) -> Decision:
    """The decision as it travels until somebody lets it go."""
    parameters = decision.parameters | {HELD_BY: "brake"}
    return msgspec.structs.replace(decision, mode="shadow", parameters=parameters)


def let_go(decision: Decision) -> Decision:
    """The decision as it was meant."""
    parameters = {name: value for name, value in decision.parameters.items() if name != HELD_BY}
    return msgspec.structs.replace(decision, mode="enforce", parameters=parameters)
