"""Postfix qmgr(8), oqmgr(8), cleanup(8) and pickup(8): the message between arrival and delivery.

The sender is the client's text; what follows it is qmgr's own, so it is read from the right.
"""

import re
from datetime import datetime

from pipeline.formats.fields import MAX_REASON, Format, Outcome, Unreadable, number
from pipeline.formats.postfix_delivery import read as read_delivery
from schemas.event import Event

_QMGR = "postfix-qmgr"
_EXPIRED = re.compile(r">, status=(?:force-)?expired, returned to sender\Z")
_MILTER = re.compile(
    r"milter-reject: [^\s:]+ from [^\s\[\]]*\[[^\s\[\]]*\](?::[0-9]+)?: "
    r"(?:(?P<code>[45][0-9]{2}) )?(?:(?P<dsn>[45]\.[0-9]{1,3}\.[0-9]{1,3}) )?(?P<text>.*)",
    re.DOTALL,
)


def read_qmgr(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """One line of qmgr: a message becomes active (``queued``), expires, or is ``removed``."""
    queue_id, _, rest = text.partition(": ")
    if rest == "removed":
        return Event(
            "other", time, host, program, None, None, None, queue_id, None, None, None, None, "removed"
        )  # fmt: skip
    if rest.startswith("from=<"):
        end = rest.rfind(">, size=")
        if end >= 0:
            size, found, tail = rest[end + 8 :].partition(", nrcpt=")
            recipients = tail.partition(" ")[0]
            if found and len(size) <= 18 and len(recipients) <= 9 and size.isdecimal() and recipients.isdecimal():
                return Event(
                    "other", time, host, program, None, None, None, queue_id,
                    rest[6:end], None, int(recipients), int(size), "queued",
                )  # fmt: skip
            return Unreadable(_QMGR, "size or nrcpt is no number")
        expired = _EXPIRED.search(rest)
        if expired is not None:
            sender = rest[6 : expired.start()]
            return Event("delivery", time, host, program, None, None, None, queue_id, sender, status="expired")
        return Unreadable(_QMGR, "from=<> is followed by neither size nor status")
    return read_delivery(time, host, program, service, text)


def read_cleanup(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """One line of cleanup: a message id, or the verdict of a milter or of header and body checks.

    The client's address is not taken from here: subjects stand to the left of it.
    """
    queue_id, _, rest = text.partition(": ")
    if rest.startswith("message-id="):
        return Event(
            "other", time, host, program, None, None, None, queue_id,
            None, None, None, None, None, None, None, None, None, rest[11:].strip("<> "),
        )  # fmt: skip
    if not queue_id.isalnum() or queue_id == "warning":
        return Event("other", time, host, program)
    if rest.startswith("milter-reject: "):
        match = _MILTER.fullmatch(rest)
        if match is None:
            return Unreadable("postfix-cleanup", "milter-reject without a client")
        reason = match["text"].partition("; from=<")[0][:MAX_REASON]
        return Event(
            "reject", time, host, program, None, None, None, queue_id,
            status=match["code"], reason=reason, dsn=match["dsn"],
        )  # fmt: skip
    if rest.startswith("reject: "):
        return Event("reject", time, host, program, None, None, None, queue_id, reason=rest[8 : 8 + MAX_REASON])
    return read_delivery(time, host, program, service, text)


def read_pickup(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """One line of pickup: a message handed in on this host, ``uid=0 from=<root>``."""
    queue_id, _, rest = text.partition(": ")
    if rest.startswith("uid=") and rest.endswith(">"):
        uid, _, sender = rest[4:].partition(" from=<")
        if number(uid) is not None:
            return Event("other", time, host, program, None, None, None, queue_id, sender[:-1])
    return Event("other", time, host, program)


FORMAT = Format(
    "postfix-queue", {"qmgr": read_qmgr, "oqmgr": read_qmgr, "cleanup": read_cleanup, "pickup": read_pickup}
)
