"""SOGo (SOGoRootPage.m): logins. Address and user are the client's text, in quotes that are not escaped."""

import re
from datetime import datetime

from pipeline.formats.reading.fields import account_name
from pipeline.formats.reading.format import ClientText, Format, Outcome, Role, Unreadable
from pipeline.formats.reading.proxies import last_hop
from schemas.event import Event

_NAME = "sogo"
_LOGIN = re.compile(
    r"(?:\[[A-Z]+\] )?(?:SOGoRootPage|<0x[0-9a-f]+\[SOGoRootPage\]>):? (?P<what>successful login|Login) from "
    r"'(?P<peer>.*)' for user '(?P<user>.*)' "
    r"(?:- expire = |might not have worked - password policy: (?P<policy>[0-9]+))[^']*",
    re.DOTALL,
)
_REFUSED = ("0", "1")  # of draft-behera-ldap-password-policy: expired, locked


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of sogod."""
    text = f"{first}: {rest}" if rest else first
    event = Event("other", time, host, program, "webmail")
    if "SOGoRootPage" not in text or " for user '" not in text:
        return event
    if text.count(" for user '") > 1:  # the user or the header imitates the line
        if not text.partition(" from '")[0].endswith(" successful login"):
            event.kind, event.reason = "auth_failure", "unknown"
        return event
    match = _LOGIN.fullmatch(text)
    if match is None:
        return Unreadable(_NAME, "login without its fields")
    event.kind = "auth_success" if match["what"] == "successful login" else "auth_failure"
    if event.kind == "auth_failure":
        event.reason = "disabled" if match["policy"] in _REFUSED else "password"
    event.client_ip, event.account = last_hop(match["peer"]), account_name(match["user"])
    return event


FORMAT = Format(
    _NAME,
    Role.WEBMAIL,
    {"sogod": read, "sogo": read},
    clients=(
        ClientText("user", r"Login from .*user '([^']*)'"),
        ClientText("header of a proxy", r"from '([^',]*), "),
    ),
)
