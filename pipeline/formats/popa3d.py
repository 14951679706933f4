"""popa3d(8): the result names the user; the address is in a line of its own, ``Session from``."""

from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role
from schemas.event import Event


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of popa3d."""
    text = f"{first}: {rest}" if rest else first
    event = Event("other", time, host, program, "pop3")
    if text.startswith("Session from "):
        event.kind, event.client_ip = "connect", CANONICAL_IP[text[13:]]
    elif text.startswith("Authentication passed for "):
        event.kind, event.account = "auth_success", account_name(text[26:])
    elif text.startswith("Authentication failed for "):
        user = text[26:]
        event.kind, event.reason = "auth_failure", "unknown_user" if user == "UNKNOWN USER" else "password"
        event.account = None if user == "UNKNOWN USER" else account_name(user)
    return event


FORMAT = Format(
    "popa3d",
    Role.ACCESS,
    {"popa3d": read},
    clients=(ClientText("user", r"failed for (\S+)$", Escape.WORD),),
)
