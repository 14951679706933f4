"""Two rule sets on the same logs, side by side: what a backtest reports."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.detect.brake import WouldHold
from pipeline.trials.backtest import Counted
from pipeline.trials.braking import Customer
from pipeline.trials.cases import Case, Score, score, stops_sending
from pipeline.trials.effects import Effect, Effects
from schemas.enforcement import Decision

ChangeKind = Literal["added", "removed", "earlier", "later", "changed"]
Turn = Literal["hurt", "helped", "caught", "lost"]


@dataclass(frozen=True)
class Change:
    """How a decision differs. ``before`` is the baseline's, ``after`` the new rules'; one of them may be missing.

    ``changed``: at the same time, but with another action, scope or end.
    """

    kind: ChangeKind
    before: Decision | None
    after: Decision | None

    @property
    def decision(self) -> Decision:
        """The new one, or that which is gone."""
        found = self.after or self.before
        assert found is not None
        return found

    @property
    def seconds(self) -> float:
        """How much later (negative: earlier) it comes; 0 if there is nothing to compare with."""
        if self.before is None or self.after is None:
            return 0.0
        return (self.after.issued_at - self.before.issued_at).total_seconds()


@dataclass(frozen=True)
class Loss:
    """What enforced decisions take from an account: is its own mail stopped, messages, logins."""

    stopped: bool
    messages: int
    logins: int

    @property
    def size(self) -> tuple[int, bool]:
        """More is worse."""
        return self.messages + self.logins, self.stopped


@dataclass(frozen=True)
class AccountChange:
    """An account that loses more, or less, under the new rules.

    ``turn``: honest or unknown accounts are ``hurt`` or ``helped``, abused ones ``caught`` or ``lost``.
    """

    account: str
    label: Literal["abused", "honest", "unknown"]
    turn: Turn
    before: Loss
    after: Loss


@dataclass(frozen=True)
class ChangedDecision:
    """A change, and what the decision on either side does."""

    change: Change
    before: Effect | None
    after: Effect | None


@dataclass(frozen=True)
class Side:
    """One rule set. ``by_rule``: enforced decisions; ``shadow``: those that are not enforced, by rule.

    ``stopped``: accounts whose own mail is stopped; ``messages``, ``logins``: stopped, of all accounts, by whatever
    enforced decision. ``accounts``, ``addresses``: against known cases. ``would_hold``: what the brake would.
    """

    name: str
    by_rule: dict[str, int]
    shadow: dict[str, int]
    stopped: int
    messages: int
    logins: int
    accounts: Score | None
    addresses: Score | None
    would_hold: WouldHold


@dataclass(frozen=True)
class Comparison:
    """``messages``: sent in all. ``subjects``: accounts, networks and countries that were counted.

    ``decisions``: all of the baseline and all of the new rules, in the order of time.
    """

    baseline: Side
    new: Side
    changes: list[ChangedDecision]
    accounts: list[AccountChange]
    decisions: tuple[list[Decision], list[Decision]]
    messages: int
    subjects: int
    lines: int

    def counts(self) -> dict[str, int]:
        """How many changes of each kind, among enforced decisions, and then among shadow ones."""
        found = Counter((c.change.kind, c.change.decision.mode) for c in self.changes)
        return {f"{kind}{' (shadow)' if mode == 'shadow' else ''}": n for (kind, mode), n in sorted(found.items())}


@dataclass
class Tried:
    """What came of one rule set. ``decisions``: in the order of time; ``subjects``: how many were counted.
    ``customers``: whom the brake is for; ``would_hold``: what it would, of ``decisions``."""

    decisions: list[Decision] = field(default_factory=list)
    effects: Effects = field(default_factory=Effects)
    subjects: int = 0
    customers: list[Customer] = field(default_factory=list)
    would_hold: WouldHold = field(default_factory=WouldHold)

    @classmethod
    def of(cls, parts: Sequence[Counted]) -> "Tried":
        """All partitions' accounts, networks and countries together; what the decisions do is not known yet."""
        decisions = sorted((d for part in parts for d in part.decisions), key=lambda d: (d.issued_at, d.key))
        customers = [customer for part in parts for customer in part.customers]
        return cls(decisions, subjects=sum(part.subjects for part in parts), customers=customers)

    def leave_out_before(self, start: float) -> None:
        """Decisions made before ``start`` (seconds since 1970) are not reported."""
        self.decisions = [d for d in self.decisions if d.issued_at.timestamp() >= start]


def put_side_by_side(
    names: tuple[str, str], baseline: Tried, new: Tried, cases: Sequence[Case], lines: int
) -> Comparison:
    """The whole report. ``names``: of the rule sets, for people."""
    changes = [
        ChangedDecision(change, _effect(baseline, change.before), _effect(new, change.after))
        for change in compare(baseline.decisions, new.decisions)
    ]
    return Comparison(
        _side(names[0], baseline, cases),
        _side(names[1], new, cases),
        changes,
        _accounts(baseline, new, cases),
        (baseline.decisions, new.decisions),
        new.effects.messages,
        new.subjects,
        lines,
    )


def _effect(tried: Tried, decision: Decision | None) -> Effect | None:
    return None if decision is None else tried.effects.decisions.get(decision.id, Effect())


def _side(name: str, tried: Tried, cases: Sequence[Case]) -> Side:
    enforced = [d for d in tried.decisions if d.mode == "enforce"]
    losses = tried.effects.accounts.values()
    return Side(
        name,
        dict(Counter(d.rule for d in enforced)),
        dict(Counter(d.rule for d in tried.decisions if d.mode != "enforce")),
        len(_stopped(tried.decisions)),
        sum(loss.messages for loss in losses),
        sum(loss.logins for loss in losses),
        score(cases, enforced, "account", tried.effects.leaked),
        score(cases, enforced, "ip", {}),
        tried.would_hold,
    )


def _stopped(decisions: Iterable[Decision]) -> set[str]:
    return {d.subject for d in decisions if d.subject_kind == "account" and d.mode == "enforce" and stops_sending(d)}


def _accounts(baseline: Tried, new: Tried, cases: Iterable[Case]) -> list[AccountChange]:
    labels = {case.subject: case.label for case in cases if case.network is None}
    stopped = _stopped(baseline.decisions), _stopped(new.decisions)
    names = baseline.effects.accounts.keys() | new.effects.accounts.keys() | stopped[0] | stopped[1]
    found = []
    for name in names:
        before = _loss(name, baseline.effects, stopped[0])
        after = _loss(name, new.effects, stopped[1])
        if before.size == after.size:
            continue
        label = labels.get(name)
        worse = after.size > before.size
        turn: Turn = ("caught" if worse else "lost") if label == "abused" else ("hurt" if worse else "helped")
        found.append(AccountChange(name, label or "unknown", turn, before, after))
    return sorted(found, key=lambda c: (c.turn, -abs(c.after.size[0] - c.before.size[0]), c.account))


def _loss(account: str, effects: Effects, stopped: set[str]) -> Loss:
    effect = effects.accounts.get(account, Effect())
    return Loss(account in stopped, effect.messages, effect.logins)


def compare(before: Iterable[Decision], after: Iterable[Decision]) -> list[Change]:
    """The difference, in the order of time.

    A decision and a new one are the same if rule, subject and mode are, and the restrictions overlap. So a rule that
    goes from shadow to enforce removes decisions and adds others.
    """
    old, new = _by_identity(before), _by_identity(after)
    changes = [c for key in old.keys() | new.keys() for c in _align(old.get(key, []), new.get(key, []))]
    return sorted(changes, key=lambda c: (c.decision.issued_at, c.decision.key, c.kind, c.decision.mode))


def _by_identity(decisions: Iterable[Decision]) -> dict[tuple[str, str], list[Decision]]:
    found: dict[tuple[str, str], list[Decision]] = {}
    for decision in sorted(decisions, key=lambda d: d.issued_at):
        found.setdefault((decision.key, decision.mode), []).append(decision)
    return found


def _align(old: list[Decision], new: list[Decision]) -> Iterator[Change]:
    """Both in the order of time, none overlapping another of its own list."""
    i = j = 0
    while i < len(old) and j < len(new):
        if old[i].expires_at <= new[j].issued_at:
            yield Change("removed", old[i], None)
            i += 1
        elif new[j].expires_at <= old[i].issued_at:
            yield Change("added", None, new[j])
            j += 1
        else:
            kind = _difference(old[i], new[j])
            if kind:
                yield Change(kind, old[i], new[j])
            i += 1
            j += 1
    yield from (Change("removed", decision, None) for decision in old[i:])
    yield from (Change("added", None, decision) for decision in new[j:])


def _difference(old: Decision, new: Decision) -> ChangeKind | None:
    if new.issued_at < old.issued_at:
        return "earlier"
    if new.issued_at > old.issued_at:
        return "later"
    terms = (old.action, old.scope, old.expires_at, old.parameters)
    return None if terms == (new.action, new.scope, new.expires_at, new.parameters) else "changed"
