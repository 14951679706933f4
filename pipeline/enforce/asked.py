"""What operators ask for, and what they are shown of a decision; agents and commands mean the same by it. Pure.

An agent answers over its socket in lines of JSON: a ``Greeting``, some of ``Part``, and an ``End``, without which the
answer is not whole.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pipeline.enforce.terms import Restriction
from pipeline.enforce.wording import SHOWN_ID, shown
from pipeline.networks import Subject
from pipeline.subjects import concerns
from schemas.enforcement import Decision, decision_key
from schemas.kinds import Action, Mode, Scope, SubjectKind
from schemas.setting import Setting

LONGEST: Final = 16_384
"""Bytes of a question."""


Time = Annotated[float, Meta(ge=-62_135_596_800, lt=253_402_300_800)]
"""Seconds since 1970 UTC, within the years 1 to 9999."""


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Decisions that are not over ``at``, of interest to all ``subjects`` (see ``subjects.concerns``), by this rule and
    in this mode; None: any."""

    at: Time
    subjects: tuple[Subject, ...] = ()
    rule: str | None = None
    mode: Mode | None = None

    def matches(self, kind: SubjectKind, subject: str, rule: str, mode: Mode) -> bool:
        """But for the time."""
        if (self.rule is not None and self.rule != rule) or (self.mode is not None and self.mode != mode):
            return False
        for one in self.subjects:  # noqa: SIM110  # a million times, and a generator takes longer than all the rest
            if not (_may_concern(kind, subject, one) and concerns((kind, subject), one)):
                return False
        return True


class Listed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A decision as ``sekimori decisions list`` shows it. ``id``: its begin."""

    subject_kind: SubjectKind
    subject: str
    action: Action
    scope: Scope
    mode: Mode
    held: bool
    rule: str
    actor: str
    reason: str
    id: str
    issued_at: Time
    expires_at: Time

    @property
    def key(self) -> str:
        """As of the decision."""
        return decision_key(self.subject_kind, self.rule, self.subject)

    @property
    def until(self) -> datetime:
        """``expires_at``, in UTC."""
        return datetime.fromtimestamp(self.expires_at, UTC)


class Greeting(msgspec.Struct):
    """``cluster``: where the agent gets its decisions. ``health``: what it tells at ``/healthz``. ``unobeyed``: how
    many decisions there it cannot obey."""

    cluster: str
    health: Mapping[str, object]
    unobeyed: int


class Part(msgspec.Struct, tag="part", omit_defaults=True):
    """Some of what was asked for, and some of the allowlist."""

    listed: list[Listed] = []
    allow: list[Setting] = []


class End(msgspec.Struct, tag="end"):
    """``known``: decisions that are not over, whatever was asked. ``whole``: none was left out because the table was
    replaced meanwhile."""

    known: int
    whole: bool


def of_restriction(restriction: Restriction) -> Listed:
    """As the agent's table keeps it."""
    terms, (reason, decision_id) = restriction.terms, restriction.why
    return Listed(
        terms.kind,
        restriction.subject,
        terms.action,
        terms.scope,
        terms.mode,
        terms.held,
        terms.rule,
        terms.actor,
        reason,
        decision_id,
        restriction.issued_at,
        restriction.expires_at,
    )


def of_decision(decision: Decision) -> Listed:
    """As the topic has it."""
    return Listed(
        decision.subject_kind,
        decision.subject,
        decision.action,
        decision.scope,
        decision.mode,
        decision.is_held,
        decision.rule,
        shown(decision.actor),
        shown(decision.reason),
        decision.id[:SHOWN_ID],
        decision.issued_at.timestamp(),
        decision.expires_at.timestamp(),
    )


def _may_concern(kind: SubjectKind, subject: str, wanted: Subject) -> bool:
    """A cheap look before ``concerns``, which takes microseconds, and there may be a million: False only if it is."""
    of, name = wanted
    if of in {"ip", "prefix"}:
        if kind == "account_ip":
            return True
        if kind not in {"ip", "prefix"}:
            return False
        if ":" in subject:
            return True
        return ":" not in name and ("/" in subject or subject == name)  # of an IPv4 address there is one spelling
    if of == "account":
        return kind in {"account", "account_ip"} and name in subject.lower()
    return kind == of
