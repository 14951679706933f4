"""What decisions would have done to the mail and logins that the logs tell of.

Logs tell what happened under the rules of their time: what those stopped is not in them, so that figures are exact for
logs from before Sekimori, or of shadow mode, and else a lower bound.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from pipeline.trials.backtest import TallyFrame
from pipeline.trials.cases import Case, stops_login, stops_sending
from schemas.enforcement import Decision
from schemas.tally import Tally

LOOK_BACK = 86_400.0  # seconds before a decision of which messages count as having left


class Effect(msgspec.Struct, array_like=True):
    """Of a decision: messages of its subject that left in the day before it; messages and logins that it stops."""

    left: int = 0
    messages: int = 0
    logins: int = 0

    def add(self, other: "Effect") -> None:
        """Adds what was measured elsewhere."""
        self.left += other.left
        self.messages += other.messages
        self.logins += other.logins


@dataclass
class Effects:
    """Of the decisions of one rule set, on some or all accounts.

    * ``decisions``: by id, whatever their mode.
    * ``accounts``: what enforced decisions stop of each account that loses anything, by whatever restriction.
    * ``leaked``: of each abused case, messages from the start of the abuse to the account's first restriction.
    * ``messages``: all that were sent.
    """

    decisions: dict[str, Effect] = field(default_factory=dict)
    accounts: dict[str, Effect] = field(default_factory=dict)
    leaked: dict[str, int] = field(default_factory=dict)
    messages: int = 0

    def add(self, other: "Effects") -> None:
        """Adds what was measured in another partition."""
        for into, of in ((self.decisions, other.decisions), (self.accounts, other.accounts)):
            for key, effect in of.items():
                into.setdefault(key, Effect()).add(effect)
        for account, count in other.leaked.items():
            self.leaked[account] = self.leaked.get(account, 0) + count
        self.messages += other.messages


@dataclass
class _InForce:
    """One decision, made quick to ask."""

    since: float
    until: float
    effect: Effect
    sending: bool
    login: bool
    enforced: bool
    spared: frozenset[str]


class _Restrictions:
    """All decisions of a rule set, by subject."""

    def __init__(self, decisions: Iterable[Decision], effects: Effects) -> None:
        self.accounts: dict[str, list[_InForce]] = {}
        self.networks: dict[str, list[_InForce]] = {}
        self.countries: dict[str, list[_InForce]] = {}
        tables = {"account": self.accounts, "ip": self.networks, "prefix": self.networks, "country": self.countries}
        for d in decisions:
            if d.subject_kind not in tables:
                continue
            since, until = d.issued_at.timestamp(), d.expires_at.timestamp()
            effect = effects.decisions.setdefault(d.id, Effect())
            enforced = d.mode == "enforce"
            spared = frozenset(d.parameters.get("except_sources", ())) if d.action == "deny_login" else frozenset()
            held = _InForce(since, until, effect, stops_sending(d), stops_login(d), enforced, spared)
            tables[d.subject_kind].setdefault(d.subject, []).append(held)

    def of(self, tally: Tally) -> list[_InForce]:
        """Those of the account and of where the tally came from."""
        found = self.accounts.get(tally.subject, [])
        for table, key in ((self.networks, tally.peer), (self.countries, tally.country)):
            if key in table:
                found = found + table[key]
        return found

    def first(self, account: str, start: float) -> float:
        """When the account's mail is first stopped, ``start`` if it is already by then; infinity if never."""
        held = (h.since for h in self.accounts.get(account, ()) if h.enforced and h.sending and h.until > start)
        return max(start, min(held, default=math.inf))


def measure(
    frames: Iterable[TallyFrame], rule_sets: Sequence[Sequence[Decision]], cases: Iterable[Case], since: float
) -> list[Effects]:
    """What each rule set's decisions do to the accounts of one partition. ``since``: of what time on, seconds."""
    measured = [Effects() for _ in rule_sets]
    restrictions = [_Restrictions(d, effects) for d, effects in zip(rule_sets, measured, strict=True)]
    both = list(zip(restrictions, measured, strict=True))
    abused = [case for case in cases if case.label == "abused" and case.network is None]
    watched = [_ends(abused, held) for held in restrictions]
    for frame in frames:
        for tally in frame.tallies:
            if not (tally.messages or tally.successes):
                continue
            for (held, effects), ends in zip(both, watched, strict=True):
                if tally.at >= since:
                    effects.messages += tally.messages
                found = held.of(tally)
                if found:
                    _apply(found, tally, since, effects)
                if tally.subject in ends:
                    start, end = ends[tally.subject]
                    if start <= tally.at <= end:
                        effects.leaked[tally.subject] = effects.leaked.get(tally.subject, 0) + tally.messages
    return measured


def _ends(abused: Iterable[Case], held: _Restrictions) -> dict[str, tuple[float, float]]:
    """Account -> from when to when what it sends is leaked spam."""
    return {case.subject: (case.since, min(case.until, held.first(case.subject, case.since))) for case in abused}


def _apply(found: Iterable[_InForce], tally: Tally, since: float, effects: Effects) -> None:
    logins = max(0, tally.successes - tally.messages)
    sent = entered = False
    for held in found:
        if held.since - LOOK_BACK < tally.at <= held.since:
            held.effect.left += tally.messages
        elif held.since < tally.at < held.until and tally.at >= since and tally.peer not in held.spared:
            if held.sending:
                held.effect.messages += tally.messages
                sent = sent or held.enforced
            if held.login:
                held.effect.logins += logins
                entered = entered or held.enforced
    if (sent and tally.messages) or (entered and logins):
        lost = effects.accounts.setdefault(tally.subject, Effect())
        lost.messages += tally.messages if sent else 0
        lost.logins += logins if entered else 0
