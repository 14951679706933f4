"""A block decision. Topic ``enforcement``, compacted: read from the start it gives today's state.

The key is ``kind:rule:subject`` (a subject may be restricted by several rules at once, and one rule must not wipe
out another's decision). A tombstone (null value) lifts it; its headers ``actor`` and ``note`` say who and why. One with
the header ``over`` was written because the decision's time had long been over.
"""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from schemas.kinds import Action, Mode, Scope, SubjectKind

MANUAL: Final = "manual"
"""The rule of what operators decide themselves."""

HELD_BY: Final = "held_by"
"""Parameter of a decision in shadow mode that is held until an operator lets it go: by what."""

HELD: Final = ("issued_at", "expires_at")
"""Headers of a release: both times of the decision, or of the allowlist's entry, that it lifts."""

SIGNATURE: Final = "signature"
"""Header of what is signed, here and on ``settings``: the name of a key, a blank, and the signature (Ed25519) as
base64."""

OVER = "over"
"""Header of a tombstone that lifts nothing: the decision had been over for a day, and the topic need not keep it."""


AGAIN: Final = "again"
"""Header of a message that was there before, and is written again because such a tombstone crossed and hid it."""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was observed: ``observed`` of ``metric`` in the last ``window`` seconds, where ``threshold`` is allowed."""

    metric: str = ""
    window: int = 0
    observed: float = 0
    threshold: float = 0
    queue_ids: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One block decision.

    * ``id``: derived from (rule, subject, episode), so that a repeated decision changes nothing for any reader.
    * ``subject``: account in lower case; address in canonical form; prefix as CIDR; ISO 3166 code;
      ``account|address``; ``*`` for the whole system.
    * ``protocols``: restricts ``scope`` to some of ``smtp imap pop3 managesieve webmail``; empty means all.
    * ``parameters``: of the action: ``seconds`` (delay_login), ``pool`` (route), ``messages``/``recipients``/``window``
      (limit), ``except_sources`` (networks for which a login restriction does not hold), ``held_by`` (what holds it).
    * ``issued_at``: event time of the line that crossed the threshold. Both times are RFC 3339 in UTC.
    """

    id: Annotated[str, Meta(min_length=1)]
    subject_kind: SubjectKind
    subject: Annotated[str, Meta(min_length=1)]
    action: Action
    scope: Scope
    mode: Mode
    rule: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")]
    rule_version: int
    reason: str
    issued_at: Annotated[datetime, Meta(tz=True)]
    expires_at: Annotated[datetime, Meta(tz=True)]
    actor: str
    protocols: list[str] = []
    evidence: Evidence = Evidence()
    parameters: dict[str, Any] = {}
    schema: int = 1

    @property
    def key(self) -> str:
        """The message key: ``kind:rule:subject``."""
        return decision_key(self.subject_kind, self.rule, self.subject)

    @property
    def is_held(self) -> bool:
        """Does it wait for somebody to let it go?"""
        return self.mode == "shadow" and HELD_BY in self.parameters


def decision_key(subject_kind: str, rule: str, subject: str) -> str:
    """Kinds and rule ids hold no colon, so that whatever follows the second one is the subject."""
    return f"{subject_kind}:{rule}:{subject}"


def split_key(key: str) -> tuple[str, str, str]:
    """``kind:rule:subject`` -> (kind, rule, subject). Raises ValueError if it is not such a key."""
    kind, rule, subject = key.split(":", 2)
    return kind, rule, subject


def decision_id(rule: str, subject_kind: str, subject: str, episode: datetime) -> str:
    """Id of the decision that opened at ``episode`` (event time): 32 hexadecimal digits."""
    stamp = episode.astimezone(UTC).isoformat(timespec="seconds")
    return hashlib.blake2b("\0".join((rule, subject_kind, subject, stamp)).encode(), digest_size=16).hexdigest()


_AT = datetime(2026, 11, 24, 1, 51, 55, tzinfo=UTC)

EXAMPLES: tuple[Decision, ...] = (
    Decision(
        id=decision_id("account_many_origins", "account", "alice@example.org", _AT),
        subject_kind="account",
        subject="alice@example.org",
        action="reject",
        scope="send",
        mode="enforce",
        rule="account_many_origins",
        rule_version=1,
        reason="alice@example.org: used from 4 countries within 1 h (limit 4)",
        evidence=Evidence("countries", 3600, 4, 4, ("4jYQJg4KFnzJB9r",), ("Nov 24 01:51:55 mx postfix/qmgr[1]: ...",)),
        issued_at=_AT,
        expires_at=datetime(2026, 11, 25, 1, 51, 55, tzinfo=UTC),
        actor="sekimori",
    ),
    Decision(
        id=decision_id("manual", "prefix", "2001:db8:5::/48", _AT),
        subject_kind="prefix",
        subject="2001:db8:5::/48",
        action="deny_login",
        scope="both",
        mode="enforce",
        rule="manual",
        rule_version=1,
        reason="attack seen by another provider",
        issued_at=_AT,
        expires_at=datetime(2026, 11, 24, 13, 51, 55, tzinfo=UTC),
        actor="operator:hana",
    ),
)
