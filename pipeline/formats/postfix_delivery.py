"""Postfix delivery agents: smtp(8), lmtp(8), virtual(8), local(8), pipe(8), error(8), discard(8), bounce(8).

``to=<…>`` is what the sender wrote, the text in parentheses is what the next host wrote. From Postfix 3.5 on a
recipient that is not plain stands in quotes (``info_log_address_format = external``).

The sending pool is told by the tag: a transport of its own (``-o syslog_name=postfix/slow``, master(5)) writes
``postfix/slow/smtp`` or ``postfix-slow/smtp``, and so does an instance of its own (postmulti(1)).

What is delivered at another port than 25 may come back, from a content filter: its answer tells as what
(``Event.session``). That is another server's text; ``joining`` believes it of messages alone that came from within.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import MAX_REASON, pool_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Unreadable
from schemas.event import Event

_NAME = "postfix-delivery"
_SHORTEST_ID = 6  # 5 digits of microseconds and an inode number
_NO_ID = ("warning", "NOQUEUE")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"@[^>]*(?=>)')
_ORIGINAL = r'(?:, orig_to=<(?:"(?:[^"\\]|\\.){0,600}"@[^>"]{0,300}|[^>"]{0,600})>)?'
_PLACE = re.compile(
    rf">{_ORIGINAL}, relay=[^ ]*(?:, conn_use=[0-9]+)?, delay=[0-9.]+, delays=[0-9./]+, "
    r"dsn=(?P<dsn>[0-9.]+), status=(?P<status>[\w-]+) \(",
    re.DOTALL,
)
_MTA = "]:25, "
_OTHER_PORT = re.compile(r"(?:orig_to=<[^>]*>, )?relay=[^ ]*\]:[0-9]+, ")
_QUEUED_AS = re.compile(r"\bqueued as ([0-9A-Za-z]{6,40})\b")


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of a delivery agent; ``service`` is the pool."""
    if not rest.startswith("to=<"):
        queue_id = first if first.isalnum() and len(first) >= _SHORTEST_ID and first not in _NO_ID else None
        return Event("other", time, host, program, None, None, None, queue_id)
    left, _, right = rest.partition(", status=")
    place, _, dsn = left.rpartition(", dsn=")
    recipient, _, relay = place.partition(">, ")
    status, found, reason = right.partition(" (")
    if not found or not recipient or rest[4] == '"' or ", status=" in reason:
        return _unusual(Event("delivery", time, host, program, None, None, None, first, pool=service), rest)
    reason = reason[:-1] if len(reason) <= MAX_REASON else reason[:MAX_REASON]
    event = Event(
        "delivery", time, host, program, None, None, None, first,
        None, recipient[4:], None, None, status, None, reason, dsn,
    )  # fmt: skip
    if service is not None:  # rare, and one more argument costs every line
        event.pool = service
    if _MTA not in relay and status == "sent" and _OTHER_PORT.match(relay):
        event.session = queued_as(reason)
    return event


def queued_as(answer: str) -> str | None:
    """The queue id that the next smtpd gave the message, out of its answer, or of that of a filter in between."""
    found = _QUEUED_AS.findall(answer)
    return found[-1] if found else None


def _unusual(event: Event, rest: str) -> Event | Unreadable:
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
    event.recipient, event.status, event.dsn = rest[4:end], place["status"], place["dsn"]
    event.reason = rest[place.end() : -1][:MAX_REASON]
    return event


AGENTS = ("smtp", "lmtp", "virtual", "local", "pipe", "error", "retry", "discard", "bounce", "defer", "trace", "relay")
_OUTWARD = ("smtp", "relay")  # agents that send to other hosts
_STOCK = ("smtp", "relay")  # transports of master.cf as it is shipped; "relay" has a name of its own there


def pool_of(program: str, instance: str) -> str | None:
    """The pool that a tag tells. ``instance``: what stands between ``postfix`` and the program."""
    return pool_name(instance) if program in _OUTWARD and instance not in _STOCK else None


FORMAT = Format(
    _NAME,
    Role.QUEUE,
    dict.fromkeys(AGENTS, read),
    within="postfix",
    clients=(
        ClientText("recipient", r"(?:orig_)?to=<([^<>]*)>", Escape.QUOTED),
        ClientText("host by DNS", r"relay=([^\s\[,]+)\[\d", Escape.HOST),
        ClientText("answer of another server", r"status=\w+ \((.*)\)"),
    ),
)
