"""Postfix delivery agents: smtp(8), lmtp(8), virtual(8), local(8), pipe(8), error(8), discard(8), bounce(8).

``to=<…>`` is what the sender wrote, the text in parentheses is what the next host wrote. From Postfix 3.5 on a
recipient that is not plain stands in quotes (``info_log_address_format = external``).
"""

import re
from datetime import datetime

from pipeline.formats.fields import MAX_REASON, Format, Outcome, Unreadable
from schemas.event import Event

_NAME = "postfix-delivery"
_SHORT = MAX_REASON + 4  # with " (" and ")"
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"@[^>]*(?=>)')
_PLACE = re.compile(
    r">(?:, orig_to=<[^>]{0,600}>)?, relay=[^ ]*(?:, conn_use=[0-9]+)?, delay=[0-9.]+, delays=[0-9./]+, "
    r"dsn=(?P<dsn>[0-9.]+), status=(?P<status>[\w-]+) \(",
    re.DOTALL,
)


def read(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """One line of a delivery agent."""
    queue_id, _, rest = text.partition(": ")
    if not rest.startswith("to=<"):
        known = queue_id if queue_id.isalnum() and len(queue_id) >= 6 and queue_id != "warning" else None
        return Event("other", time, host, program, None, None, None, known)
    end = rest.find(">, ", 4)
    dsn = rest.find(", dsn=", end)
    status = rest.find(", status=", dsn)
    if 0 <= end < dsn < status == rest.rfind(", status=") and rest[4] != '"':
        reason = rest.find(" (", status)
        if reason > 0:
            return Event(
                "delivery", time, host, program, None, None, None, queue_id,
                None, rest[4:end], None, None, rest[status + 9 : reason], None,
                rest[reason + 2 : -1] if len(rest) - reason < _SHORT else rest[reason + 2 : reason + 2 + MAX_REASON],
                rest[dsn + 6 : status],
            )  # fmt: skip
    return _unusual(time, host, program, queue_id, rest)


def _unusual(time: datetime, host: str, program: str, queue_id: str, rest: str) -> Outcome:
    quoted = _QUOTED.match(rest, 4)
    if quoted is not None:
        place = _PLACE.match(rest, quoted.end())
        end = quoted.end()
    else:
        places = list(_PLACE.finditer(rest))
        if len(places) > 1:
            return Unreadable(_NAME, "two places look like Postfix's own status")
        place = places[0] if places else None
        end = place.start() if place else 0
    if place is None:
        return Unreadable(_NAME, "to=<> is not followed by relay, dsn and status")
    return Event(
        "delivery", time, host, program, None, None, None, queue_id, None, rest[4:end],
        status=place["status"], reason=rest[place.end() : -1][:MAX_REASON], dsn=place["dsn"],
    )  # fmt: skip


AGENTS = ("smtp", "lmtp", "virtual", "local", "pipe", "error", "retry", "discard", "bounce", "defer", "trace", "relay")
FORMAT = Format(_NAME, dict.fromkeys(AGENTS, read))
