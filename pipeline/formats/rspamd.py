"""rspamd: the verdict on a message (``rspamd_task_write_log``), as text, or as JSON (``log_json``, metadata_exporter).

``id: <message id>, qid: <queue id>, ip: …, user: …, from: <…>, (default: F (action): [score/required] [symbols]), …``.
The message id is the client's and comes first, without blanks (rspamd writes ``?``); the sender comes last before the
verdict, as the client wrote it. A line with two verdicts gives nothing.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event

_NAME = "rspamd"
_LINE = re.compile(
    r"(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}(?:\.[0-9]+)?) #[0-9]+\([\w-]+\) (?P<text>.*)", re.DOTALL
)
_FUNCTION = re.compile(r"(?:\[\w+\] )?(?:<\w*>; )?[\w ]+; (?P<function>\w+): (?P<text>.*)", re.DOTALL)
_WROTE = "rspamd_task_write_log"
_ORIGIN = re.compile(
    r"id: <(?P<mid>\S*)>(?:, qid: <(?P<qid>\S*)>)?(?:, ip: (?P<ip>[^\s,]+))?(?:, user: (?P<user>[^\s,]+))?"
    r"(?:, from: <(?P<sender>.*)>)?",
    re.DOTALL,
)
_VERDICT = re.compile(r"\(default: \w \((?P<action>[\w ]+)\): \[(?P<score>[^\[\]\s/]+/[^\[\]\s/]+)\] ")
_OPEN = "(default: "
_LATEST = 4e9


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog, or of standard output under another header."""
    event = Event("other", time, host, program)
    match = _FUNCTION.fullmatch(f"{first}: {rest}")
    return _wrote(event, match["text"]) if match is not None and match["function"] == _WROTE else event


def read_bare(line: str, stamps: Stamps) -> Outcome:
    """A line of rspamd.log, which names neither host nor program."""
    own = _LINE.fullmatch(line)
    time = stamps.iso(own["time"]) if own is not None else None
    if own is None or time is None:
        return None
    event, match = Event("other", time, "", _NAME), _FUNCTION.fullmatch(own["text"])
    return _wrote(event, match["text"]) if match is not None and match["function"] == _WROTE else event


def _wrote(event: Event, text: str) -> Event:
    if text.count(_OPEN) != 1:
        return event
    start = text.index(_OPEN)
    verdict = _VERDICT.match(text, start)
    if verdict is not None:
        event.status, event.reason = verdict["action"], verdict["score"]
    origin = _ORIGIN.fullmatch(text[:start].removesuffix(" ").removesuffix(","))
    if origin is None:
        return event
    event.message_id, event.queue_id = _known(origin["mid"]), _known(origin["qid"])
    event.client_ip = CANONICAL_IP[origin["ip"]] if origin["ip"] else None
    event.account, event.sender = account_name(_known(origin["user"]) or ""), origin["sender"]
    return event


def _known(text: str | None) -> str | None:
    return None if not text or text in ("undef", "unknown") else text


def read_object(fields: Mapping[str, object], stamps: Stamps) -> Outcome:
    """A log record (``ts``, ``function``, ``message``) or a scan's metadata (``action``, ``score``, ``symbols``)."""
    stamp = fields.get("ts", fields.get("unix_time", fields.get("timestamp")))
    if not isinstance(stamp, int | float) or not 0 <= stamp < _LATEST:
        return None
    event = Event("other", datetime.fromtimestamp(stamp, UTC), "", _NAME)
    if "worker_type" in fields and isinstance(message := fields.get("message"), str):
        return _wrote(event, message) if fields.get("function") == _WROTE else event
    action, score = fields.get("action"), fields.get("score")
    if not isinstance(action, str) or not isinstance(score, int | float) or "symbols" not in fields:
        return None
    required, user = fields.get("required_score"), fields.get("user")
    event.status, event.reason = (
        action,
        f"{score:.2f}" + (f"/{required:.2f}" if isinstance(required, int | float) else ""),
    )
    event.message_id = _text(fields, "message-id", "message_id")
    event.queue_id = _known(_text(fields, "qid", "queue_id", "queue-id"))
    event.client_ip = CANONICAL_IP[_text(fields, "ip") or ""]
    event.account = account_name(_known(user) or "") if isinstance(user, str) else None
    event.sender = _text(fields, "sender_smtp", "from")
    return event


def _text(fields: Mapping[str, object], *names: str) -> str | None:
    values = (fields.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value), None)


FORMAT = Format(
    _NAME,
    Role.FILTER,
    {"rspamd": read},
    bare=(("2", read_bare),),
    objects=read_object,
    clients=(
        ClientText("message id", r'\bid: <([^<>]*)>|"message-id":"([^"]*)"', Escape.GRAPHIC),
        ClientText("sender", r'from: <([^<>]*)>|"sender_smtp":"([^"]*)"'),
        ClientText("what symbols tell", r"\{([a-z/]+);\}"),
        ClientText("recipient", r'rcpts: <([^<>]*)>|"rcpt_smtp":\["([^"]*)"'),
    ),
)
