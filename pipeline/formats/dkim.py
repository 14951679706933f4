"""opendkim and opendmarc: what a signature, SPF or a DMARC policy came to, by queue id (syslog calls of opendkim.c
and opendmarc.c). Domains and selectors are the sender's.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import MAX_REASON
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role
from schemas.event import Event

_ID = re.compile(r"[0-9A-Za-z]{6,20}")
_DKIM = (
    ("DKIM verification successful", "pass"),
    ("DKIM-Signature field added ", "signed"),
    ("DKIM-Signature header added ", "signed"),
    ("no signature data", "none"),
    ("bad signature data", "fail"),
    ("signature processing failed", "fail"),
    ("key revoked ", "fail"),
    ("key retrieval failed", "temperror"),
    ("signature generation error", "temperror"),
)
_VERIFIED = re.compile(r"s=\S* d=\S* a=\S* SSL ?(?P<error>.*)", re.DOTALL)
_DMARC = re.compile(r"\S+ (?P<result>pass|fail|none|unknown|temperror|permerror)")
_SPF = re.compile(r"SPF\((?:mailfrom|helo)\): \S+ (?P<result>\w+)")


def read_dkim(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of opendkim."""
    event = Event("other", time, host, program)
    if not _ID.fullmatch(first):
        return event
    event.queue_id = first
    for words, status in _DKIM:
        if rest.startswith(words):
            event.status, event.reason = status, rest[:MAX_REASON]
            return event
    verified = _VERIFIED.fullmatch(rest)
    if verified is not None:
        event.status, event.reason = "fail" if verified["error"] else "pass", verified["error"][:MAX_REASON] or None
    return event


def read_dmarc(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of opendmarc."""
    event = Event("other", time, host, program)
    if not _ID.fullmatch(first):
        return event
    event.queue_id = first
    match = _SPF.fullmatch(rest) or _DMARC.fullmatch(rest)
    if match is not None:
        event.status, event.reason = match["result"], rest[:MAX_REASON]
    return event


FORMAT = Format(
    "dkim",
    Role.FILTER,
    {"opendkim": read_dkim, "dkim-filter": read_dkim, "opendmarc": read_dmarc},
    clients=(
        ClientText("selector", r"\bs=([^,\s]*)"),
        ClientText("domain", r"\bd=([^,\s)]*)"),
        ClientText("host by DNS", r": (\S+) \[[^\]]*\] not", Escape.HOST),
        ClientText("sender", r"mailfrom\): (\S+) ", Escape.QUOTED),
        ClientText("header", r" from (\S+)$"),
        ClientText("sender's domain", r"opendmarc\S+ \S+ ([\w.]+) (?:pass|fail)", Escape.HOST),
    ),
)
