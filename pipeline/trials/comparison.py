"""Two rule sets on the same logs, side by side: what a backtest reports."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.trials.backtest import Change, compare
from pipeline.trials.cases import Case, Score, score, stops_sending
from pipeline.trials.effects import Effect, Effects
from schemas.enforcement import Decision

Turn = Literal["hurt", "helped", "caught", "lost"]


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
    enforced decision. ``accounts``, ``addresses``: against known cases.
    """

    name: str
    by_rule: dict[str, int]
    shadow: dict[str, int]
    stopped: int
    messages: int
    logins: int
    accounts: Score | None
    addresses: Score | None


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


@dataclass(frozen=True)
class Tried:
    """What became of one rule set, under a name for people."""

    name: str
    decisions: list[Decision]
    effects: Effects


def put_side_by_side(baseline: Tried, new: Tried, cases: Sequence[Case], subjects: int, lines: int) -> Comparison:
    """The whole report."""
    changes = [
        ChangedDecision(change, _effect(baseline, change.before), _effect(new, change.after))
        for change in compare(baseline.decisions, new.decisions)
    ]
    return Comparison(
        _side(baseline, cases),
        _side(new, cases),
        changes,
        _accounts(baseline, new, cases),
        (baseline.decisions, new.decisions),
        new.effects.messages,
        subjects,
        lines,
    )


def _effect(tried: Tried, decision: Decision | None) -> Effect | None:
    return None if decision is None else tried.effects.decisions.get(decision.id, Effect())


def _side(tried: Tried, cases: Sequence[Case]) -> Side:
    enforced = [d for d in tried.decisions if d.mode == "enforce"]
    losses = tried.effects.accounts.values()
    return Side(
        tried.name,
        dict(Counter(d.rule for d in enforced)),
        dict(Counter(d.rule for d in tried.decisions if d.mode != "enforce")),
        len(_stopped(tried.decisions)),
        sum(loss.messages for loss in losses),
        sum(loss.logins for loss in losses),
        score(cases, enforced, "account", tried.effects.leaked),
        score(cases, enforced, "ip", {}),
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
