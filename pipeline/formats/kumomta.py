"""KumoMTA's log records (JSON, one a line): Reception, Delivery, Bounce, TransientFailure, Rejection and others.

https://docs.kumomta.com/reference/log_record/: ``type``, ``id``, ``sender``, ``recipient`` (text or list), ``size``,
``response``, ``peer_address``, ``timestamp`` (seconds), ``meta``, ``reception_protocol``, ``nodeid``, ``egress_pool``.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from pipeline.formats.reading.fields import CANONICAL_IP, MAX_REASON, account_name, pool_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Unreadable
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "kumomta"
_STATUS = {
    "Delivery": "sent",
    "Bounce": "bounced",
    "AdminBounce": "bounced",
    "OOB": "bounced",
    "TransientFailure": "deferred",
    "Expiration": "expired",
}
_TYPES = frozenset(("Reception", "Rejection", "Feedback", "AdminRebind", "DeferredInjectionRebind", "XferIn", "XferOut",
                    "Delayed", *_STATUS))  # fmt: skip
_REASONS: dict[int, AuthReason] = {
    535: "password",
    534: "mechanism",
    504: "mechanism",
    501: "aborted",
    538: "mechanism",
}
_NO_POOL = "unspecified"  # what KumoMTA calls it where none is configured
_EARLIEST, _LATEST = 0.0, 4e9


def read_object(fields: Mapping[str, object], stamps: Stamps) -> Outcome:
    """One record; ``None`` if the object is not one."""
    what, response = fields.get("type"), fields.get("response")
    if not isinstance(what, str) or what not in _TYPES:
        return None
    if not isinstance(response, dict) or "reception_protocol" not in fields:
        return None
    time = _time(fields)
    if time is None:
        return Unreadable(_NAME, "there is no such time")
    peer = fields.get("peer_address")
    address = _text(peer.get("addr")) if isinstance(peer, dict) else None
    event = Event("other", time, _text(fields.get("nodename")) or "", "kumod", queue_id=_text(fields.get("id")))
    event.sender, size = _text(fields.get("sender")), fields.get("size")
    event.size = size if isinstance(size, int) and size >= 0 else None
    recipient = fields.get("recipient")
    many = recipient if isinstance(recipient, list) else [recipient]
    event.recipient = _text(many[0]) if many else None
    said = _text(response.get("content")) or ""
    code, event.dsn = response.get("code"), _dsn(response.get("enhanced_code"))
    if what in _STATUS:
        event.kind, event.status, event.reason = "delivery", _STATUS[what], said[:MAX_REASON] or None
        pool = _text(fields.get("egress_pool"))
        event.pool = pool_name(pool) if pool and pool != _NO_POOL else None
        return event
    event.client_ip = CANONICAL_IP[address] if address else None
    if what == "Reception":
        return _reception(event, fields, len(many))
    if what == "Rejection":
        command = _text(response.get("command")) or ""
        if command.upper().startswith("AUTH") or (isinstance(code, int) and code == 535):
            event.kind, event.queue_id, event.sender, event.recipient = "auth_failure", None, None, None
            event.reason = _REASONS.get(code, "temporary") if isinstance(code, int) else "temporary"
            return event
        event.kind, event.status = "reject", str(code) if isinstance(code, int) else None
        event.reason = said[:MAX_REASON] or None
    return event


def _reception(event: Event, fields: Mapping[str, object], recipients: int) -> Event:
    meta = fields.get("meta")
    user = _text(meta.get("authn_id")) or _text(meta.get("smtp_auth_user")) if isinstance(meta, dict) else None
    event.account = account_name(user or "")
    event.nrcpt = recipients
    event.kind, event.status = ("submission", None) if event.account else ("other", "queued")
    return event


def _time(fields: Mapping[str, object]) -> datetime | None:
    stamp = fields.get("timestamp")
    if isinstance(stamp, int | float) and _EARLIEST <= stamp < _LATEST:
        return datetime.fromtimestamp(stamp, UTC)
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _dsn(value: object) -> str | None:
    if not isinstance(value, dict):
        return None
    parts = [value.get(name) for name in ("class", "subject", "detail")]
    return ".".join(str(part) for part in parts) if all(isinstance(part, int) for part in parts) else None


FORMAT = Format(
    _NAME,
    Role.MTA,
    {},
    writes=("kumod",),
    objects=read_object,
    clients=(
        ClientText("sender", r'"sender":"([^"]*)"'),
        ClientText("recipient", r'"recipient":\[?"([^"]*)"|"recipient":\[[^\]]*,"([^"]*)"|TO:<([^<>]*)>'),
        ClientText("host by DNS", r'"name":"([^"]*)"', Escape.HOST),
        ClientText("answer of another server", r'"content":"([^"]*)"'),
        ClientText("command", r'"command":"RCPT ([^"]*)"'),
    ),
)
