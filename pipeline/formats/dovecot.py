"""Dovecot's lines by process: ``imap-login: Info: …`` in its own log file, ``dovecot: imap-login: …`` through syslog."""

import re
from datetime import datetime

from pipeline.formats import dovecot_auth, dovecot_login
from pipeline.formats.dovecot_login import SERVICES
from pipeline.formats.fields import Format, Outcome, Reader
from schemas.event import Event

_READERS: dict[str, Reader] = {**dovecot_login.FORMAT.programs, **dovecot_auth.FORMAT.programs}
_LEVEL = ("Info: ", "Warning: ", "Error: ", "Debug: ", "Fatal: ", "Panic: ")
_NAME = re.compile(r"[a-z0-9-]+")


def read(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """A line of Dovecot whose text begins with the process: ``imap-login: Login: …``."""
    process, _, message = text.partition(": ")
    return read_process(time, host, process, service, message)


def read_process(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """A line of the Dovecot process ``program``, which may carry a user and a pid: ``imap(user)<pid><session>``."""
    reader = _READERS.get(program)
    if reader is None:
        name = _NAME.match(program)
        if name is None:
            return Event("other", time, host, "dovecot")
        program = name[0]
        reader = _READERS.get(program)
        if reader is None:
            return Event("other", time, host, program)
    if text.startswith(_LEVEL):
        level, _, text = text.partition(": ")
        if level == "Debug":
            return Event("other", time, host, program)
    return reader(time, host, program, SERVICES.get(program), text)


def read_renamed(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """A line under another name (``instance_name``): claimed only if it is a login or a refusal of Dovecot."""
    process, _, message = text.partition(": ")
    if process.partition("(")[0] not in _READERS or ("(" not in message and "user=<" not in message):
        return None
    outcome = read_process(time, host, process, service, message)
    return outcome if isinstance(outcome, Event) and outcome.kind != "other" else None


FORMAT = Format("dovecot", {"dovecot": read})
