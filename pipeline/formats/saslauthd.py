"""Cyrus SASL's saslauthd(8): it knows user and service, never the client's address.

User and realm are the client's text: a line in which they imitate the fields gives no account.
"""

import re
from datetime import datetime

from pipeline.formats.pam import SERVICES
from pipeline.formats.reading.fields import account_name
from pipeline.formats.reading.format import ClientText, Format, Outcome, Role, Unreadable
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "saslauthd"
_FIELDS = re.compile(
    r"\[user=(?P<user>.*)\] \[service=(?P<service>[^\[\]]*)\] \[realm=(?P<realm>.*)\] "
    r"\[mech=(?P<mech>[^\[\]]*)\] \[reason=(?P<why>.*)\]",
    re.DOTALL,
)
_REASONS: tuple[tuple[str, AuthReason], ...] = (
    ("PAM acct error", "disabled"),
    ("PAM auth error", "password"),
    ("PAM ", "temporary"),
    ("unavailable", "temporary"),
    ("connect", "temporary"),
    ("timeout", "temporary"),
    ("system error", "temporary"),
    ("internal", "temporary"),
)


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of saslauthd: the name of a function, padded with blanks, then what it has to say."""
    event = Event("other", time, host, program)
    if not rest.startswith("auth failure: [user="):
        return event
    text = rest.removeprefix("auth failure: ")
    event.kind, event.reason = "auth_failure", "password"
    if any(text.count(f"] [{name}=") > 1 for name in ("service", "realm", "mech", "reason")):
        return event
    fields = _FIELDS.fullmatch(text)
    if fields is None:
        return Unreadable(_NAME, "auth failure without its fields")
    event.service = SERVICES.get(fields["service"], fields["service"] or None)
    event.reason = next((reason for words, reason in _REASONS if words in fields["why"]), "password")
    user, realm = fields["user"], fields["realm"]
    event.account = account_name(f"{user}@{realm}" if user and realm and "@" not in user else user)
    return event


FORMAT = Format(
    _NAME,
    Role.ASKED,
    {"saslauthd": read},
    clients=(
        ClientText("user", r"\[user=([^\[\]@]*)(?:@[\w.]+)?\]"),
        ClientText("user's realm", r"\[realm=([^\[\]]+)\]"),
    ),
)
