"""Postfix's lines by program, and by shape where syslog dropped the program's name."""

import re
from datetime import datetime

from pipeline.formats import postfix_delivery, postfix_queue, postfix_smtpd
from pipeline.formats.fields import Format, Outcome, Reader
from schemas.event import Event

READERS: dict[str, Reader] = {
    **postfix_delivery.FORMAT.programs,
    **postfix_queue.FORMAT.programs,
    **postfix_smtpd.FORMAT.programs,
}
_VERDICT = re.compile(
    r"(?:NOQUEUE|[0-9A-Za-z]{6,20}): (?:milter-)?(?:reject|hold|warn|info|filter|discard|redirect)\w*: "
)
_SASL = re.compile(r"warning: [^\s\[\]]*\[[^\s\[\]]*\](?::[0-9]+)?: SASL ")


def read_other(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """postscreen, anvil, scache, master, tlsproxy, postlogd and so on: claimed, with nothing to count."""
    return Event("other", time, host, program)


def read_unnamed(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """A line tagged ``postfix`` alone (APP-NAME of RFC 5424 cannot hold ``/submission/smtpd``)."""
    name = _program(text)
    if name is None:
        return Event("other", time, host, program)
    return READERS[name](time, host, name, None, text)


def _program(text: str) -> str | None:
    if text.startswith(("connect from ", "disconnect from ", "lost connection after ", "timeout after ")):
        return "smtpd"
    queue_id, _, rest = text.partition(": ")
    if queue_id == "warning":
        return "smtpd" if _SASL.match(text) else None
    if not queue_id.isalnum():
        return None
    if rest == "removed" or rest.startswith("from=<"):
        return "qmgr"
    if rest.startswith("client="):
        return "smtpd"
    if rest.startswith("to=<"):
        return "smtp"
    if rest.startswith(("message-id=", "milter-reject: END-OF-MESSAGE ")):
        return "cleanup"
    if rest.startswith("uid="):
        return "pickup"
    return "smtpd" if _VERDICT.match(text) and not rest.startswith(_CLEANUP) else None


_CLEANUP = tuple(f"{verb}: {part} " for verb in ("reject", "hold", "discard", "redirect", "filter", "info", "warn")
                 for part in ("header", "body", "mime"))  # fmt: skip
FORMAT = Format("postfix", {"postfix": read_unnamed})
