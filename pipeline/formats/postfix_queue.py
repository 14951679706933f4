"""Postfix qmgr(8), oqmgr(8), cleanup(8) and pickup(8): the message between arrival and delivery.

The sender is the client's text; what follows it is qmgr's own, so it is read from the right.
"""

import re
from datetime import datetime

from pipeline.formats.postfix_delivery import read as read_delivery
from pipeline.formats.reading.fields import MAX_REASON, number
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Unreadable
from schemas.event import Event

_QMGR = "postfix-qmgr"
_ACTIVE = {f"{nrcpt} (queue active)": nrcpt for nrcpt in range(1, 1001)}
_EXPIRED = re.compile(r">, status=(?:force-)?expired, returned to sender\Z")
_MILTER = re.compile(
    r"milter-reject: [^\s:]+ from [^\s\[\]]*\[[^\s\[\]]*\](?::[0-9]+)?: "
    r"(?:(?P<code>[45][0-9]{2}) )?(?:(?P<dsn>[45]\.[0-9]{1,3}\.[0-9]{1,3}) )?(?P<text>.*)",
    re.DOTALL,
)


def read_qmgr(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of qmgr: a message becomes active (``queued``), expires, or is ``removed``."""
    if rest == "removed":
        return Event("other", time, host, program, None, None, None, first, None, None, None, None, "removed")
    if not rest.startswith("from=<"):
        return read_delivery(time, host, program, service, first, rest)
    left, found, right = rest.rpartition(">, size=")
    if found and not rest.endswith(", returned to sender"):
        size, _, tail = right.partition(", nrcpt=")
        nrcpt = _ACTIVE.get(tail) or number(tail.partition(" ")[0])
        if nrcpt is not None and size.isdecimal() and len(size) <= 18:
            return Event(
                "other", time, host, program, None, None, None, first, left[6:], None, nrcpt, int(size), "queued"
            )
        return Unreadable(_QMGR, "size or nrcpt is no number")
    expired = _EXPIRED.search(rest)
    if expired is not None:
        return Event(
            "delivery", time, host, program, queue_id=first, sender=rest[6 : expired.start()], status="expired"
        )
    return Unreadable(_QMGR, "from=<> is followed by neither size nor status")


def read_cleanup(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of cleanup: a message id, or the verdict of a milter or of header and body checks.

    The client's address is not taken from here: subjects stand to the left of it.
    """
    if rest[:11] == "message-id=":
        message_id = rest[12:-1] if rest[-1] == ">" and rest[11] == "<" else rest[11:]
        return Event(
            "other", time, host, program, None, None, None, first,
            None, None, None, None, None, None, None, None, None, message_id,
        )  # fmt: skip
    if rest.startswith("milter-reject: "):
        match = _MILTER.fullmatch(rest)
        if match is None:
            return Unreadable("postfix-cleanup", "milter-reject without a client")
        reason = match["text"].partition("; from=<")[0][:MAX_REASON]
        event = Event("reject", time, host, program, status=match["code"], reason=reason, dsn=match["dsn"])
        event.queue_id = None if first == "NOQUEUE" else first
        return event
    if rest.startswith("reject: ") and first != "warning":
        queue_id = None if first == "NOQUEUE" else first
        return Event("reject", time, host, program, queue_id=queue_id, reason=rest[8 : 8 + MAX_REASON])
    return read_delivery(time, host, program, service, first, rest)


def read_pickup(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of pickup: a message handed in on this host, ``uid=0 from=<root>``."""
    uid, found, sender = rest.partition(" from=<")
    if found and uid.startswith("uid=") and rest.endswith(">") and number(uid[4:]) is not None:
        return Event("other", time, host, program, queue_id=first, sender=sender[:-1])
    return Event("other", time, host, program)


FORMAT = Format(
    "postfix-queue",
    Role.QUEUE,
    {"qmgr": read_qmgr, "oqmgr": read_qmgr, "cleanup": read_cleanup, "pickup": read_pickup},
    roles={"pickup": Role.LOCAL},
    within="postfix",
    clients=(
        ClientText("sender", r"from=<([^<>]*)>", Escape.QUOTED),
        ClientText("recipient", r"to=<([^<>]*)>", Escape.QUOTED),
        ClientText("message id", r"message-id=<([^<>]*)>"),
        ClientText("header", r"Subject: (.*?) from unknown"),
        ClientText("HELO", r"helo=<([^<>]*)>", Escape.NEUTERED),
        ClientText("reason of another server", r"suspended: (.*)\)"),
    ),
)
