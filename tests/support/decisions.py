"""Decisions for tests: short to write, with sensible values for all that a test does not mind."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.enforce.table import DecisionTable
from schemas.enforcement import Decision, decision_id
from schemas.kinds import SubjectKind
from schemas.setting import Setting

AT = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
NOW = AT.timestamp()


def decision(
    subject: str, kind: SubjectKind = "account", *, rule: str = "account_send_rate", seconds: float = 3600, **other: Any
) -> Decision:
    """Issued at ``AT`` for ``seconds``."""
    issued_at = other.pop("issued_at", AT)
    given: dict[str, Any] = {
        "id": decision_id(rule, kind, subject, issued_at),
        "action": "reject",
        "scope": "send",
        "mode": "enforce",
        "rule_version": 1,
        "reason": f"{subject} sent 100 messages within 10 minutes (60 are allowed)",
        "issued_at": issued_at,
        "expires_at": issued_at + timedelta(seconds=seconds),
        "actor": "sekimori",
    }
    return Decision(subject_kind=kind, subject=subject, rule=rule, **(given | other))


def allow(subject: str, kind: SubjectKind = "account", **other: Any) -> Setting:
    """An allowlist entry of ``AT``."""
    given: dict[str, Any] = {"actor": "operator:hana", "note": "tested", "issued_at": AT}
    return Setting(setting="allow", subject_kind=kind, subject=subject, **(given | other))


def table(*messages: Decision | Setting) -> DecisionTable:
    """A table that has taken these messages."""
    made = DecisionTable()
    for message in messages:
        if isinstance(message, Decision):
            made.apply(message.key, message)
        else:
            made.allow(message.key, message)
    return made
