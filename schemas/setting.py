"""What operators set by hand: the allowlist. Topic ``settings``, compacted, key ``allow:kind:subject``."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.kinds import SubjectKind


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """An allowlist entry. It wins over manual and automatic decisions, until ``expires_at`` (``None``: for ever)."""

    setting: Literal["allow"]
    subject_kind: SubjectKind
    subject: Annotated[str, Meta(min_length=1)]
    actor: str
    note: str
    issued_at: Annotated[datetime, Meta(tz=True)]
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    schema: int = 1

    @property
    def key(self) -> str:
        """The message key: ``allow:kind:subject``."""
        return f"{self.setting}:{self.subject_kind}:{self.subject}"


EXAMPLES: tuple[Setting, ...] = (
    Setting(
        setting="allow",
        subject_kind="ip",
        subject="198.51.100.7",
        actor="operator:hana",
        note="scanner of the city hall",
        issued_at=datetime(2026, 11, 24, 1, 0, tzinfo=UTC),
    ),
)
