"""A record that could not be read, with the reason. Topic ``dead-letters``."""

from datetime import UTC, datetime

import msgspec


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be read.

    ``source`` is ``topic-partition`` (or the file), ``offset`` the message in it (or the line), ``index`` the record
    within the frame. ``raw`` is the record, cut at 4,096 characters, bytes that are not UTF-8 as ``\\xNN``.
    """

    source: str
    offset: int
    index: int
    reason: str
    raw: str
    time: datetime
    schema: int = 1


EXAMPLES: tuple[DeadLetter, ...] = (
    DeadLetter(
        source="maillog-0",
        offset=17,
        index=3,
        reason="postfix/qmgr: nrcpt is no number",
        raw="Nov 24 01:50:43 mx postfix/qmgr[1]: 4F1: from=<a@example.org>, size=1, nrcpt=x (queue active)",
        time=datetime(2026, 11, 24, 1, 50, 43, tzinfo=UTC),
    ),
)
