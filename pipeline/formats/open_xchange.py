"""Open-Xchange App Suite: refused logins (``LGN-0006``) with the properties of the log, on one line or as JSON.

Properties stand to the right of the message, which may hold the client's login; a line that names one of them twice
gives neither account nor address.
"""

import re
from collections.abc import Mapping

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Format, Outcome, Role
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "open-xchange"
_BARE = re.compile(
    r"(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:,.]+(?:[+-][0-9]{4}|Z)) (?P<text>[A-Z]+ .*)", re.DOTALL
)
_CODE = re.compile(r"\bLGN-(?P<code>[0-9]{4})\b")
_ADDRESSES = ("com.openexchange.request.ipAddress", "com.openexchange.grizzly.remoteAddress")
_LOGIN = "com.openexchange.login.login"
_REASONS: dict[str, AuthReason] = {
    "0006": "password", "0002": "temporary", "0003": "temporary", "0012": "disabled", "0014": "disabled",
}  # fmt: skip


def read_line(line: str, stamps: Stamps) -> Outcome:
    """A line of ``open-xchange.log``."""
    match = _BARE.fullmatch(line)
    code = _CODE.search(line) if match else None
    time = stamps.iso(match["time"].replace(",", ".")) if match and code else None
    if match is None or code is None or time is None:
        return None
    properties: dict[str, str] = {}
    for name in (*_ADDRESSES, _LOGIN):
        values = re.findall(rf" {re.escape(name)}=(\S*)", line)
        if len(values) > 1:
            properties.clear()
            break
        properties.update((name, value) for value in values)
    if not line.endswith(f" {_LOGIN}={properties.get(_LOGIN)}"):
        properties.pop(_LOGIN, None)  # what follows may be the rest of it
    return _event(Event("other", time, "", _NAME), code[0], code["code"], properties)


def read_object(fields: Mapping[str, object], stamps: Stamps) -> Outcome:
    """A JSON object of its logstash encoder: properties are keys."""
    message = fields.get("message")
    if _LOGIN not in fields and not any(name in fields for name in _ADDRESSES):
        return None
    code = _CODE.search(message) if isinstance(message, str) else None
    time = stamps.any(fields.get("@timestamp"))
    if code is None or time is None:
        return None
    return _event(Event("other", time, "", _NAME), code[0], code["code"], fields)


def _event(event: Event, said: str, code: str, properties: Mapping[str, object]) -> Outcome:
    event.service = "webmail"
    reason = _REASONS.get(code)
    if reason is None:
        event.reason = said
        return event
    event.kind, event.reason = "auth_failure", reason
    address = next((properties[name] for name in _ADDRESSES if name in properties), "")
    event.client_ip = CANONICAL_IP[address] if isinstance(address, str) else None
    login = properties.get(_LOGIN)
    event.account = account_name(login) if isinstance(login, str) else None
    return event


FORMAT = Format(
    _NAME,
    Role.WEBMAIL,
    {},
    writes=("open-xchange",),
    bare=(("12", read_line),),
    objects=read_object,
    clients=(ClientText("user", r'login\.login(?:=|":")([^\s"]+)'),),
)
