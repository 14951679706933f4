"""The brake: a rule gone wild must not stop everybody.

Of each rule and hour of event time it counts decisions about subjects with a good history: accounts and networks that
were used well for more than a day. Above what is usual further ones are held: they travel in shadow mode, marked, until
an operator lets them go. Whoever only guesses is never held, nor what restricts only strangers' logins, since neither
hurts a customer. Counts are of one partition, and saved with it.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

import msgspec

from pipeline.detect.decide import Verdict
from pipeline.partition import partition_of_subject
from pipeline.rules.config import Brake
from pipeline.windows.layout import ACCUSED, ERROR, SEEN, SLOT, Entry, first_slot
from pipeline.windows.metrics import METRICS
from schemas.enforcement import HELD_BY, Decision
from schemas.tally import Tally
from schemas.times import DAY, HOUR

WEEK: Final = 7 * DAY // HOUR
WELL: Final = DAY  # seconds between a success and a finding that make a good history
WAITS: Final = (
    "what is held restricts nobody, under the alert SekimoriBrake, until `sekimori decisions let-go --rule RULE`"
)


class Count(msgspec.Struct, array_like=True):
    """Decisions of one rule in one hour: ``passed``, and how many were ``held`` besides."""

    passed: int = 0
    held: int = 0


class BrakeState(msgspec.Struct, array_like=True):
    """``hours``: rule -> hour since 1970 -> counts. ``active``: accounts active in the day before that hour."""

    hours: dict[str, dict[int, Count]] = {}
    active: tuple[int, int] = (0, 0)

    def spread(self, number: int) -> "list[BrakeState]":
        """The same decisions, as if the partition had been so many. Whose they were is not known: each has its part."""

        def part(count: int, of: int, hour: int) -> int:
            return count // number + ((of + hour) % number < count % number)

        return [
            BrakeState(
                {
                    rule: {h: Count(part(count.passed, n, h), part(count.held, n, h)) for h, count in hours.items()}
                    for rule, hours in self.hours.items()
                },
                (self.active[0], part(self.active[1], n, 0)),
            )
            for n in range(number)
        ]


class HourlyBrake:
    """Counts, and says what is to be held.

    ``most``: decisions within a day at most, held or not, since it was made; so much as ``hourly`` would hold none.
    """

    def __init__(self) -> None:
        self.state = BrakeState()
        self.most = 0

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
        day = self._day(hour)
        passed = sum(count.passed for count in day)
        if not held and passed >= limits.hourly:
            if self.state.active[0] != hour:
                self.state.active = hour, active()
            held = passed >= max(limits.hourly, limits.share * self.state.active[1])
        if held:
            count.held += 1
        else:
            count.passed += 1
        self.most = max(self.most, sum(count.passed + count.held for count in day))
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

    def _day(self, hour: int) -> list[Count]:
        day = range(hour - DAY // HOUR + 1, hour + 1)
        return [hours[h] for hours in self.state.hours.values() for h in day if h in hours]


class Brakes:
    """The brakes of so many partitions of ``tallies``, each counts for itself. ``single``: that of the first."""

    def __init__(self, partitions: int = 1) -> None:
        self._brakes = tuple(HourlyBrake() for _ in range(partitions))

    @property
    def single(self) -> HourlyBrake:
        """Where there is one."""
        return self._brakes[0]

    @property
    def most(self) -> int:
        """See ``HourlyBrake``."""
        return max(brake.most for brake in self._brakes)

    def holds(self, limits: Brake, decision: Decision, at: float, active: Callable[[], int]) -> bool:
        """As that of ``HourlyBrake``. ``active``: accounts of all these partitions; each has about as many."""
        number = len(self._brakes)
        brake = self._brakes[partition_of_subject(decision.subject, number)]
        return brake.holds(limits, decision.rule, at, lambda: active() // number)


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


# --- where nothing is held: replays, backtests, the demo ------------------------------------------------------------


class HeldOfRule(msgspec.Struct, frozen=True):
    """``subjects``: how many different ones; ``first``: when the first of the decisions was issued."""

    rule: str
    decisions: int
    subjects: int
    first: datetime


class WouldHold(msgspec.Struct, frozen=True):
    """``rules``: those of which something would be held, the most first. ``partitions``: of ``tallies``, a brake each.

    ``hourly``: with so much in ``[brake]`` nothing would be held; None where nothing is.
    """

    partitions: int = 1
    rules: tuple[HeldOfRule, ...] = ()
    hourly: int | None = None

    @property
    def decisions(self) -> int:
        """All of them."""
        return sum(of.decisions for of in self.rules)

    @classmethod
    def of(cls, held: Iterable[Decision], partitions: int, most: int) -> "WouldHold":
        """``held``: decisions in any order; ``most``: see ``HourlyBrake``."""
        by_rule: dict[str, list[Decision]] = {}
        for decision in held:
            by_rule.setdefault(decision.rule, []).append(decision)
        rules = [
            HeldOfRule(rule, len(found), len({d.subject for d in found}), min(d.issued_at for d in found))
            for rule, found in by_rule.items()
        ]
        rules.sort(key=lambda of: (-of.decisions, of.rule))
        return cls(partitions, tuple(rules), most if rules else None)


def counted_on(would: WouldHold) -> str:
    """How the brakes counted."""
    return f"on {would.partitions} partitions, each for itself" if would.partitions > 1 else "on one partition"


def brake_notes(would: WouldHold) -> list[str]:
    """Lines of a summary: what would wait, which alert there would be, and what lets it pass. None if nothing would."""
    if not would.rules:
        return []
    return [
        f"the brake would have held {would.decisions:,} decisions ({counted_on(would)}); here it holds nothing:",
        *(
            f"  {of.decisions:>5,}  {of.rule}: {of.subjects:,} subject{'s' if of.subjects > 1 else ''}, "
            f"first at {of.first:%Y-%m-%d %H:%M:%S} UTC"
            for of in would.rules
        ),
        f"  {WAITS}",
        f"  `hourly = {would.hourly}` under [brake] would let all of it pass",
    ]
