"""Verdicts -> decisions: episodes, escalation, shadow mode.

A subject that stays above a limit is one episode, and gets one decision; the next episode can begin when the
restriction has run out. Each further episode doubles the duration up to the rule's cap, until it has been quiet for
the rule's decay time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from pipeline.rules import Active
from pipeline.rules.config import Limit
from pipeline.windows.layout import SLOT
from pipeline.windows.metrics import METRICS
from schemas.enforcement import Decision, Evidence, decision_id
from schemas.kinds import Action, SubjectKind
from schemas.tally import Tally

ACTOR = "sekimori"
MAX_EXCEPTIONS = 50
_TRUSTED = "[trusted] in the rules file"
DELAY = 5  # seconds, where a login is only delayed


class Episode(msgspec.Struct, gc=False, array_like=True):
    """What a rule last did about a subject: event times in seconds, how often in a row, and the
    networks that were accused, or found to be the owner's.

    ``counted_from``: an operator lifted a restriction; the rule is not asked about what was done until then.
    ``released_at``: when the last restriction of this rule was lifted, so that it ends but once. 0: never.
    ``held``: by the brake, and so it restricts nobody and accuses nobody."""

    since: float
    until: float
    strikes: int
    looked_at: set[str] = set()
    counted_from: float = 0.0
    released_at: float = 0.0
    held: bool = False

    @property
    def mark(self) -> int:
        """The last slot that the rule is not asked about; 0: it is asked about all."""
        return int(self.counted_from) // SLOT

    @property
    def is_lifted(self) -> bool:
        """Did it end because an operator lifted the restriction?"""
        return 0 < self.until <= self.counted_from


@dataclass(frozen=True)
class Verdict:
    """What is wrong: ``observed`` reached ``limit`` for subjects of that class of country."""

    active: Active
    limit: Limit
    observed: int
    group: str
    known_sources: Sequence[str] = ()


def is_running(episode: Episode | None, at: float) -> bool:
    """Does the last restriction still hold at event time ``at``?"""
    return episode is not None and at < episode.until


def open_episode(active: Active, before: Episode | None, at: float) -> Episode:
    """The next episode: twice as long as the one before, unless that is long ago."""
    quiet = before is None or at - before.until >= active.decay
    strikes = 1 if quiet or before is None else before.strikes + 1
    duration = min(active.duration << min(strikes - 1, 20), max(active.cap, active.duration))
    return following(before, at, at + duration, strikes)


def following(before: Episode | None, since: float, until: float, strikes: int) -> Episode:
    """An episode that knows what operators lifted before it."""
    lifted = (before.counted_from, before.released_at) if before is not None else (0.0, 0.0)
    return Episode(since, until, strikes, set(), *lifted)


def decide(verdict: Verdict, tally: Tally, episode: Episode, home: str) -> Decision:
    """The decision that an episode opens with."""
    active, config = verdict.active, verdict.active.config
    rule = active.rule
    action, scope, until = config.action, config.scope, episode.until
    if config.home is not None and tally.kind == "ip" and tally.country in (home, ""):
        action, scope = config.home.action or action, config.home.scope or scope
    parameters: dict[str, object] = dict(config.parameters)
    if rule.spares_known and action == "deny_login":
        action, parameters = _spare(action, parameters, verdict.known_sources)
    kind, subject = _subject(tally)
    issued = datetime.fromtimestamp(episode.since, UTC)
    return Decision(
        id=decision_id(rule.id, kind, subject, issued),
        subject_kind=kind,
        subject=subject,
        action=action,
        scope=scope,
        mode="shadow" if config.mode == "shadow" else "enforce",
        rule=rule.id,
        rule_version=rule.version,
        reason=reason(verdict, subject, episode.strikes),
        evidence=Evidence(
            metric=verdict.limit.metric,
            window=verdict.limit.window,
            observed=verdict.observed,
            threshold=verdict.limit.count,
            queue_ids=tally.queue_ids,
            lines=tally.samples,
        ),
        issued_at=issued,
        expires_at=issued + timedelta(seconds=until - episode.since),
        actor=ACTOR,
        parameters=parameters,
    )


def asking(decision: Decision) -> Decision:
    """A notice in place of a decision about what may be a host of our own."""
    whose = f"several accounts log in from this private address: if it is a host of yours, name it under {_TRUSTED}"
    return msgspec.structs.replace(decision, action="notify", parameters={}, reason=f"{decision.reason}; {whose}")


def _spare(action: Action, parameters: dict[str, object], known: Sequence[str]) -> tuple[Action, dict[str, object]]:
    if known:
        return action, parameters | {"except_sources": list(known[:MAX_EXCEPTIONS])}
    return "delay_login", parameters | {"seconds": DELAY}


def _subject(tally: Tally) -> tuple[SubjectKind, str]:
    if tally.kind == "ip":
        return ("prefix" if "/" in tally.subject else "ip"), tally.subject
    return tally.kind, tally.subject


def reason(verdict: Verdict, subject: str, strikes: int) -> str:
    """One sentence for people."""
    phrase = METRICS[verdict.limit.metric].told(verdict.observed)
    where = "" if verdict.group in ("all", "home") else f", from {verdict.group}"
    again = f"; time {strikes} in a row" if strikes > 1 else ""
    whom = "the whole system" if subject == "*" else subject
    window = duration_text(verdict.limit.window)
    return f"{whom}: {phrase} within {window}{where} (limit {verdict.limit.count}){again}"


def duration_text(length: int) -> str:
    """Seconds in the largest unit that fits: ``10 min``, ``24 h``, ``7 d``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if length % size == 0 and (unit != "d" or length > size):
            return f"{length // size} {unit}"
    return f"{length} s"
