"""amavis: ``(am_id) Passed|Blocked VERDICT {actions}, bank [client] [origin] <sender> -> <recipients>, Queue-ID: …``.

What stands in quotes is the sender's; the message id stands to the right of the queue id.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, masked
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role
from schemas.event import Event

_LINE = re.compile(
    r"\((?P<am>[\w-]+)\) (?P<what>Passed|Blocked) (?P<verdict>[A-Z][A-Z-]*)(?:-[0-9]+)?(?: \((?P<name>[^()]*)\))?"
    r"(?: \{[^{}]*\})?,(?P<rest>.*)",
    re.DOTALL,
)
_ORIGIN = re.compile(
    r"(?: [A-Z][\w/]*)*(?: \[(?P<ip>[0-9A-Fa-f:.]+)\](?::[0-9]+)?)?(?: \[[0-9A-Fa-f:.]*\])? "
    r"<(?P<sender>[^<>]*)> -> (?P<to><[^<>]*>)(?P<more>(?:,<[^<>]*>)*)"
)
_QUEUE_ID = re.compile(r"(?:, quarantine: [^,\s]+)?, Queue-ID: (?P<id>[0-9A-Za-z]+)(?=,)")
_MESSAGE_ID = re.compile(r", Message-ID: <(?P<id>[^<>]*)>(?=, (?:Resent-Message-ID|mail_id): )")
_HITS = re.compile(
    r", Hits: (?P<score>-?[0-9.]+|-)(?=, size: [0-9]+)(?:, size: [0-9]+, queued_as: (?P<behind>[0-9A-Za-z]{6,40})\b)?"
)


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of amavis."""
    text = f"{first}: {rest}" if rest else first
    event = Event("other", time, host, program)
    line = _LINE.fullmatch(text)
    if line is None:
        return event
    event.status, event.reason = line["verdict"].lower(), line["name"]
    said = line["rest"]
    plain = masked(said)
    origin = _ORIGIN.match(plain)
    if origin is None:
        return event
    event.client_ip = CANONICAL_IP[origin["ip"]] if origin["ip"] else None
    event.sender = said[origin.start("sender") : origin.end("sender")]
    event.recipient = said[origin.start("to") + 1 : origin.end("to") - 1]
    event.nrcpt = 1 + origin["more"].count(">")
    queue = _QUEUE_ID.match(plain, origin.end())
    event.queue_id = queue["id"] if queue else None
    if plain.count(", Hits: ") != 1:
        return event
    message, hits = _MESSAGE_ID.search(said), _HITS.search(plain)
    event.message_id = message["id"] if message else None
    if hits is not None:
        event.session = hits["behind"]
        event.reason = event.reason or hits["score"]
    return event


FORMAT = Format(
    "amavis",
    Role.FILTER,
    {"amavis": read, "amavisd": read},
    clients=(
        ClientText("sender", r"\](?::\d+)? <([^<>]*)> -> ", Escape.QUOTED),
        ClientText("recipient", r"-> <([^<>]*)>|>,<([^<>]*)>", Escape.QUOTED),
        ClientText("message id", r"Message-ID: <([^<>]*)>"),
        ClientText("first hop, out of a header", r"\](?::\d+)? \[([^\[\]]*)\] <", Escape.ADDRESS),
        ClientText("DKIM selector", r"dkim_sd=([^,:]*):", Escape.GRAPHIC),
    ),
)
