"""clamav-milter: ``Message [queue id] from <…> to <…> … infected by NAME`` and ``Clean message [queue id] from …``.

Addresses, subject and message id are the sender's; the name of what was found ends the line.
"""

import re
from datetime import datetime

from pipeline.formats.reading.format import ClientText, Format, Outcome, Role
from schemas.event import Event

_FOUND = re.compile(
    r"Message (?:(?P<id>[0-9A-Za-z]{6,20}) )?from <(?P<envelope>.*) infected by (?P<name>\S+)", re.DOTALL
)
_CLEAN = re.compile(r"Clean message (?:(?P<id>[0-9A-Za-z]{6,20}) )?from <(?P<envelope>.*)", re.DOTALL)
_ENVELOPE = re.compile(
    r"(?P<sender>[^<>]*)> to <(?P<to>[^<>]*)>"
    r"(?: with subject '(?:[^']*)' message-id '<?(?P<mid>[^'<>]*)>?' date '[^']*')?",
    re.DOTALL,
)


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of clamav-milter."""
    text = f"{first}: {rest}" if rest else first
    event = Event("other", time, host, program)
    found, clean = _FOUND.fullmatch(text), _CLEAN.fullmatch(text)
    match = found or clean
    if match is None:
        return event
    event.status, event.queue_id = "infected" if found else "clean", match["id"]
    event.reason = found["name"] if found else None
    envelope = _ENVELOPE.fullmatch(match["envelope"])
    if envelope is not None:
        event.sender, event.recipient = envelope["sender"], envelope["to"].partition(",")[0]
        event.message_id = envelope["mid"] or None
    return event


FORMAT = Format(
    "clamav-milter",
    Role.FILTER,
    {"clamav-milter": read},
    clients=(
        ClientText("sender", r"from <([^<>]*)> to"),
        ClientText("recipient", r" to <([^<>]*)>"),
        ClientText("subject", r"subject '([^']*)'"),
        ClientText("message id", r"message-id '<([^<>]*)>'"),
        ClientText("date", r"date '([^']*)'"),
    ),
)
