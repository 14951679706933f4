"""What the programs are that write events (``Event.program``), as their formats say."""

from collections.abc import Mapping

from pipeline.formats import FORMATS
from pipeline.formats.reading.format import Role, Session


def _roles() -> dict[str, Role]:
    """Of a program that several formats name, the first of them says what it is."""
    roles: dict[str, Role] = {}
    for entry in FORMATS:
        for program in entry.written():
            roles.setdefault(program, entry.role_of(program))
    return roles


ROLES: Mapping[str, Role] = _roles()


def _with(role: Role) -> frozenset[str]:
    return frozenset(program for program, its in ROLES.items() if its is role)


def _joined(session: Session) -> frozenset[str]:
    return frozenset(program for entry in FORMATS if entry.session is session for program in entry.written())


MTAS = _with(Role.MTA)
LOCAL = _with(Role.LOCAL)
SASL = _with(Role.SASL)
ASKED = _with(Role.ASKED)
STORES = SASL | ASKED
"""Are asked about passwords: what they say of a try is not its outcome, see ``normalize.attempts``."""
WEBMAILS = _with(Role.WEBMAIL)

RELAYED = frozenset(("submission-login", "submission"))
"""Dovecot's submission service: the login tells the address of the client, each line behind it a message."""
SHARED_SESSIONS = _joined(Session.SHARED) | RELAYED
SUMMED_SESSIONS = _joined(Session.SUM)
TWICE_TOLD_SESSIONS = _joined(Session.TWICE)

SMTP_AUTH = frozenset(("smtp", "smtps", "submission", "submissions"))
"""Entrances (``Event.service``) where SMTP AUTH is taken."""
CHANNELS: Mapping[str, str] = {
    "submission": "smtp", "submissions": "smtp", "smtps": "smtp", "webmail": "webmail", "imap": "access",
    "pop3": "access",
}  # fmt: skip
"""Entrance -> channel. ``smtp`` is not among them: others' mail comes in there, too."""
