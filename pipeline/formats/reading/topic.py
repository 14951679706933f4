"""Which topic a raw line belongs on, told by the program in its header: what a client wrote comes after it."""

import re
from collections.abc import Iterable

from pipeline.formats import FORMATS
from pipeline.formats.reading.format import Format, Role
from schemas.topics import AUTHLOG, MAILLOG

AUTH_ROLES = frozenset((Role.ACCESS, Role.SASL, Role.ASKED))
_BSD = r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?"
_ISO = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^ ]*+"

_RELAYED = r"(?:\[\d+\])?: submission(?:\(|-login: (?:Info: )?Login: )"
"""Dovecot's submission service: the MTA's lines on the same messages are on ``maillog``."""


def _any_of(texts: Iterable[str]) -> str:
    """A pattern of any of these texts, which looks at each of their common beginnings once; of none, it never fits."""
    by_first: dict[str, set[str]] = {}
    for text in texts:
        by_first.setdefault(text[:1], set()).add(text[1:])
    ends = by_first.pop("", None) is not None
    branches = [re.escape(first) + _any_of(rests) for first, rests in sorted(by_first.items())]
    if not branches:
        return "" if ends else "(?!)"
    return branches[0] if len(branches) == 1 and not ends else f"(?:{'|'.join(branches)}){'?' if ends else ''}"


def _pattern(formats: tuple[Format, ...]) -> re.Pattern[bytes]:
    """Of the lines of all formats that belong on ``authlog``. No part of it looks at a line twice: it must be fast."""
    roles: dict[str, Role] = {}
    for entry in formats:
        for tag in () if entry.within else entry.programs:
            roles.setdefault(tag, entry.role_of(tag))
    tags = [tag for tag, role in roles.items() if role in AUTH_ROLES]
    ours = [entry for entry in formats if entry.role in AUTH_ROLES]
    own = _any_of(process for entry in ours if entry.own_log for process in entry.own_log[0])
    instances = _any_of(entry.instances[0] for entry in formats if entry.instances)
    instance_of = [entry.instances[1] for entry in formats if entry.instances]
    others = [tag for tag in tags if any(says(["", tag]) is not None for says in instance_of)]
    wide = _any_of(tag for tag in roles if tag.endswith("/"))
    tag = (
        rf"(?!{instances})(?:(?!{wide})[\w.-]++/)*+{_any_of(tags)}"
        rf"{''.join(f'(?<!/{re.escape(tag)})' for tag in others)}"  # `any/lmtp` is the family's
        r"(?:(?<=/)[\w./-]++|-[\w.-]++)?"  # `cyrus/` and what follows; an instance named `dovecot-NAME`
    )
    text = (
        rf"(?:<\d{{1,3}}>)?+(?:(?:{_BSD}|{_ISO}) (?:"
        rf"(?:[^ \[(<]*+(?<!:) (?!\[))?+{tag}(?!{_RELAYED})(?:[\[(<:]| \[)"
        rf"|{own}(?:[(<]|: ))"  # a log file that names no host
        rf"|1 {_ISO} [^ ]++ {tag} )"  # RFC 5424
    )
    return re.compile("|".join((text, *(entry.bare_start for entry in ours if entry.bare))).encode(), re.DOTALL)


_AUTH = _pattern(FORMATS)
_AUTHLOG, _MAILLOG = AUTHLOG.name, MAILLOG.name


def topic_of(line: bytes) -> str:
    """``authlog`` for a line of an IMAP, POP3 or SASL server, ``maillog`` for any other, and for all JSON objects."""
    return _AUTHLOG if _AUTH.match(line) else _MAILLOG
