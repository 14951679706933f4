"""Dovecot's submission service, 2.3 and 2.4: each message that it has handed to the MTA behind it.

``submission(user)<pid><session>: Successfully relayed message: from=<…>, size=…, id=…, nrcpt=2, reply=`…'``: the sender
is the client's text, what follows it is Dovecot's and, in the reply, the MTA's own, so it is read from the right. The
number of recipients is the client's, before any alias.
"""

import re
from datetime import datetime

from pipeline.formats.postfix_delivery import queued_as
from pipeline.formats.reading.fields import MAX_REASON, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role
from schemas.event import Event

_HEAD = re.compile(r"submission\((?P<user>.*)\)(?:<[0-9]+>)?(?:<(?P<session>[^<>\s]*)>)?", re.DOTALL)
_RELAYED = re.compile(
    r"from=<(?P<sender>.*)>, size=(?P<size>[0-9]{1,18}), id=[^\s,]+, nrcpt=(?P<nrcpt>[0-9]{1,9}), "
    r"reply=`(?P<reply>.*)'",
    re.DOTALL,
)


def read_session(time: datetime, host: str, head: str, first: str, rest: str) -> Event:
    """One line of a user's process; ``head`` names him and his session."""
    event = Event("other", time, host, "submission", "submission")
    who = _HEAD.fullmatch(head)
    relayed = _RELAYED.fullmatch(rest) if first == "Successfully relayed message" else None
    if who is None or relayed is None:
        return event
    event.account, event.session, event.sender = account_name(who["user"]), who["session"] or None, relayed["sender"]
    event.size, event.nrcpt, event.reason = int(relayed["size"]), int(relayed["nrcpt"]), relayed["reply"][:MAX_REASON]
    event.queue_id = queued_as(relayed["reply"])
    if event.queue_id is not None:
        event.kind, event.status = "connect", "queued"
    return event


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line that names no user."""
    return Event("other", time, host, "submission", "submission")


FORMAT = Format(
    "dovecot-submission",
    Role.ACCESS,
    {"submission": read},
    within="dovecot",
    clients=(ClientText("sender", r"from=<([^<>]*)>", Escape.QUOTED),),
)
