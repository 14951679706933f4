"""Dovecot's lines by process: ``imap-login: Info: …`` in its own log file, ``dovecot: imap-login: …`` in syslog."""

from datetime import datetime

from pipeline.formats import dovecot_auth, dovecot_login, dovecot_submission
from pipeline.formats.dovecot_login import SERVICES
from pipeline.formats.reading.format import ClientText, Format, Outcome, Reader, Role
from schemas.event import Event

READERS: dict[str, Reader] = {
    **dovecot_login.FORMAT.programs,
    **dovecot_auth.FORMAT.programs,
    **dovecot_submission.FORMAT.programs,
}
_LEVELS = frozenset(("Info", "Warning", "Error", "Fatal", "Panic"))
_PROCESSES = frozenset(
    ("imap", "pop3", "lmtp", "lda", "managesieve", "submission", "anvil", "config", "dict", "director", "dns-client",
     "doveadm", "imap-hibernate", "imap-urlauth", "indexer", "indexer-worker", "ipc", "log", "master", "old-stats",
     "replicator", "ssl-params", "stats", "tcpwrap")
)  # fmt: skip


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog: the text begins with the process, ``imap-login: Login: …``, ``imap(user)<pid><session>: …``."""
    process = first.partition("(")[0]
    reader = READERS.get(process)
    if reader is None:
        return Event("other", time, host, process if process in _PROCESSES else "dovecot")
    head = first
    first, _, rest = rest.partition(": ")
    if first == "Debug":
        return Event("other", time, host, process)
    if first in _LEVELS:
        first, _, rest = rest.partition(": ")
    if process == "submission" and head != process:
        return dovecot_submission.read_session(time, host, head, first, rest)
    return reader(time, host, process, SERVICES.get(process), first, rest)


def read_process(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of Dovecot's own log file: the tag is the process, the text begins with the level, ``Info: …``."""
    if first not in _LEVELS and first != "Debug":
        return None
    return read(time, host, "dovecot", None, program, f"{first}: {rest}")


def read_tagged(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog whose tag is the process, as some shippers write it."""
    return read(time, host, "dovecot", None, program, f"{first}: {rest}")


def read_renamed(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line under another name (``instance_name``): claimed only if it is, or imitates, a login or a refusal."""
    if first.partition("(")[0] not in READERS or ("(" not in rest and "user=<" not in rest):
        return None
    outcome = read(time, host, program, service, first, rest)
    return None if isinstance(outcome, Event) and outcome.kind == "other" else outcome


FORMAT = Format(
    "dovecot",
    Role.ACCESS,
    {"dovecot": read} | dict.fromkeys(SERVICES, read_tagged),
    own_log=(_PROCESSES | READERS.keys(), read_process),
    renamed=read_renamed,
    clients=(
        *dovecot_login.FORMAT.clients,
        *dovecot_auth.FORMAT.clients,
        *dovecot_submission.FORMAT.clients,
        ClientText("user who got in", r"imap\(([^()]*)\)"),
    ),
)
