"""Postfix's lines by program, and by shape where syslog dropped the program's name."""

import re
from datetime import datetime

from pipeline.formats import postfix_delivery, postfix_queue, postfix_smtpd
from pipeline.formats.postfix_peers import peer_of
from pipeline.formats.reading.format import Claim, ClientText, Escape, Format, Outcome, Reader, Role
from schemas.event import Event

READERS: dict[str, Reader] = {
    **postfix_delivery.FORMAT.programs,
    **postfix_queue.FORMAT.programs,
    **postfix_smtpd.FORMAT.programs,
}
_VERDICT = re.compile(r"(?:milter-)?(?:reject|hold|warn|info|filter|discard|redirect)\w*: ")
_FAMILY = "postfix"  # instances are named so, or postfix-NAME (multi_instance_name)
_SHAPES = (
    ("removed", "qmgr"),
    ("from=<", "qmgr"),
    ("client=", "smtpd"),
    ("to=<", "smtp"),
    ("message-id=", "cleanup"),
    ("milter-reject: END-OF-MESSAGE ", "cleanup"),
    ("uid=", "pickup"),
)
_SASL = re.compile(r"[^\s\[\]]*\[[^\s\[\]]*\](?::[0-9]+)?: SASL ")


def instance(words: list[str]) -> Claim | None:
    """What Postfix says of a tag such as ``postfix-out/submission/smtpd``; ``None`` if it is not of Postfix."""
    first, *middle, program = words
    if not first.startswith(_FAMILY) and program not in READERS:
        return None
    last = middle[-1] if middle else ""
    if program == "smtpd":
        service: str | None = last or "smtp"
    else:
        service = postfix_delivery.pool_of(program, last or first.partition("postfix-")[2])
    return READERS.get(program, read_other), service


def read_other(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """postscreen, anvil, scache, master, tlsproxy, postlogd and so on: claimed, with nothing to count."""
    return Event("other", time, host, program, client_ip=peer_of(f"{first}: {rest}" if rest else first))


def read_unnamed(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line tagged ``postfix`` alone (APP-NAME of RFC 5424 cannot hold ``/submission/smtpd``)."""
    name = _program(first, rest)
    if name is None:
        return Event("other", time, host, program)
    return READERS[name](time, host, name, service, first, rest)


def _program(first: str, rest: str) -> str | None:
    if first.startswith(("connect from ", "disconnect from ", "lost connection after ", "timeout after ", "proxy-")):
        return "smtpd"
    if first == "warning":
        return "smtpd" if _SASL.match(rest) else None
    if not first.isalnum():
        return None
    for words, program in _SHAPES:
        if rest.startswith(words):
            return program
    return "smtpd" if _VERDICT.match(rest) and not rest.startswith(_CLEANUP) else None


_CLEANUP = tuple(f"{verb}: {part} " for verb in ("reject", "hold", "discard", "redirect", "filter", "info", "warn")
                 for part in ("header", "body", "mime"))  # fmt: skip
FORMAT = Format(
    "postfix",
    Role.MTA,
    {"postfix": read_unnamed},
    instances=(_FAMILY, instance),
    clients=(
        *postfix_smtpd.FORMAT.clients,
        *postfix_queue.FORMAT.clients,
        *postfix_delivery.FORMAT.clients,
        ClientText("recipient, by postscreen", r"to=<([^<>]*)>,", Escape.QUOTED),
    ),
)
