"""Courier's MTA: courieresmtpd (server), courierd (queue), courieresmtp, courierlocal and other delivery modules."""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, MAX_REASON, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role
from schemas.event import Event
from schemas.kinds import AuthReason

_ADDRESS = r'(?:"(?:[^"\\]|\\.)*"@[^<>]*|(?!")[^<>]*)'
_RELAY = re.compile(
    r'error,relay=(?P<ip>[0-9A-Fa-f:.]+)(?:,port=[0-9]+)?(?:,ident="[^"]*")?(?P<rest>[,:].*)', re.DOTALL
)
_STARTED = re.compile(r"started,ip=\[(?P<ip>[0-9A-Fa-f:.]+)\](?:,.*)?", re.DOTALL)
_ANSWER = re.compile(r',msg="(?P<code>[245][0-9]{2}) (?P<text>[^"]*)"(?:,cmd(?:: (?P<command>.*))?)?', re.DOTALL)
_REJECT = re.compile(
    rf",from=<(?P<sender>{_ADDRESS})>(?:,to=<(?P<to>{_ADDRESS})>)?: (?P<code>[245][0-9]{{2}}) "
    r"(?:(?P<dsn>[245]\.[0-9]{1,3}\.[0-9]{1,3}) )?(?P<text>.*)",
    re.DOTALL,
)
_ID = r"id=(?P<id>[0-9A-Fa-f]+\.[0-9A-Fa-f]+\.[0-9A-Fa-f]+)"
_NEW = re.compile(rf"newmsg,{_ID}(?:, ?auth=(?P<user>[^:\s,]+))?: (?P<from>.*)", re.DOTALL)
_CLIENT = re.compile(r"\[(?P<ip>[0-9A-Fa-f:.]+)\]\)?\Z")
_BEGUN = re.compile(
    rf"started,{_ID},from=<(?P<sender>{_ADDRESS})>,module=\w+,host=[^,]*,addr=<(?P<to>{_ADDRESS})>", re.DOTALL
)
_COMPLETED = re.compile(rf"completed,{_ID}")
_DELIVERY = re.compile(
    rf"{_ID},from=<(?P<sender>{_ADDRESS})>,addr=<(?P<to>{_ADDRESS})>(?:,size=[0-9]+)?"
    r"(?:(?:,status: (?P<status>\w+)|,success)(?:: (?P<text>.*))?|: (?P<said>.*))",
    re.DOTALL,
)
_STATUS = {"failure": "bounced", "failed": "bounced", "deferred": "deferred", "success": "sent"}
_REASONS: dict[str, AuthReason] = {"535": "password", "534": "mechanism", "504": "mechanism", "501": "aborted"}
_TEMPORARY = ("454", "432", "421", "451")


def read_server(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of courieresmtpd."""
    text = f"{first}: {rest}" if rest else first
    event = Event("other", time, host, program)
    started = _STARTED.fullmatch(text)
    if started is not None:
        event.kind, event.client_ip = "connect", CANONICAL_IP[started["ip"]]
        return event
    relay = _RELAY.fullmatch(text)
    if relay is None:
        return event
    event.client_ip = CANONICAL_IP[relay["ip"]]
    answer = _ANSWER.fullmatch(relay["rest"])
    if answer is not None:
        return _answered(event, answer)
    reject = _REJECT.fullmatch(relay["rest"])
    event.kind = "reject"
    if reject is not None:
        event.sender, event.recipient, event.status = reject["sender"], reject["to"], reject["code"]
        event.dsn, event.reason = reject["dsn"], reject["text"][:MAX_REASON]
    return event


def _answered(event: Event, answer: re.Match[str]) -> Event:
    code, text = answer["code"], answer["text"]
    command = (answer["command"] or "").upper()
    if "uthentication" in text or (command.startswith("AUTH ") and code in _REASONS):
        event.kind = "auth_failure"
        event.reason = "temporary" if code in _TEMPORARY or "emporar" in text else _REASONS.get(code, "policy")
        if event.reason == "policy" and "equired" in text:
            event.kind, event.status, event.reason = "reject", code, text
        return event
    event.kind, event.status, event.reason = "reject", code, text[:MAX_REASON]
    return event


def read_queue(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of courierd or of a delivery module."""
    text = f"{first}: {rest}" if rest else first
    event = Event("other", time, host, program)
    new = _NEW.fullmatch(text)
    if new is not None:
        client = _CLIENT.search(new["from"])
        event.queue_id, event.client_ip = new["id"], CANONICAL_IP[client["ip"]] if client else None
        event.account = account_name(new["user"] or "")
        event.kind, event.status = ("submission", None) if event.account else ("other", "queued")
        return event
    begun = _BEGUN.fullmatch(text)
    if begun is not None:
        event.queue_id, event.sender, event.recipient = begun["id"], begun["sender"], begun["to"]
        return event
    completed = _COMPLETED.fullmatch(text)
    if completed is not None:
        event.queue_id, event.status = completed["id"], "removed"
        return event
    delivery = _DELIVERY.fullmatch(text)
    if delivery is None:
        return event
    event.queue_id, event.sender, event.recipient = delivery["id"], delivery["sender"], delivery["to"]
    event.reason = (delivery["text"] or delivery["said"] or "")[:MAX_REASON] or None
    if delivery["said"] is None:
        event.kind, event.status = "delivery", _STATUS.get(delivery["status"] or "success", "deferred")
    return event


_MODULES = ("courierd", "courieresmtp", "courierlocal", "courierdsn", "courierfax", "courieruucp")
FORMAT = Format(
    "courier-smtp",
    Role.MTA,
    {"courieresmtpd": read_server, "esmtpd": read_server, "esmtpd-msa": read_server, "esmtpd-ssl": read_server}
    | dict.fromkeys(_MODULES, read_queue),
    roles=dict.fromkeys(_MODULES, Role.QUEUE),
    clients=(
        ClientText("command", r"cmd: (?:AUTH PLAIN )?(.*)"),
        ClientText("sender", r"from=<([^<>]*)>", Escape.QUOTED),
        ClientText("recipient", r"(?:to|addr)=<([^<>]*)>|User <([^<>]*)>", Escape.QUOTED),
        ClientText("HELO", r"dns; (\S+) \("),
        ClientText("host by DNS", r"dns; \S+ \((\S+) \[", Escape.HOST),
        ClientText("answer of another server", r"success: (.*)|addr=<[^<>]*>: (\d.*)"),
    ),
)
