"""Headers of log lines that are not the plain ``Mon DD HH:MM:SS host tag[pid]: text``.

RFC 5424, ``<PRI>``, ISO 8601 stamps in place of RFC 3164 ones, and lines that name no host, such as those of
Dovecot's own log file.
"""

import re
from datetime import datetime
from typing import NamedTuple

from pipeline.formats.reading.stamps import Stamps

PRI = re.compile(r"<[0-9]{1,3}>")
_RFC5424 = re.compile(r"1 (\S+) (\S+) (\S+) (\S+) (\S+) ")
_PID = re.compile(r"\[[0-9]+\]: ")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}\S* ")
_SD_VALUE = re.compile(r'(?:\[(?:[^\]"\\]|"(?:[^"\\]|\\.)*"|\\.)*\])+')
_PROCESS = re.compile(
    r"[a-z0-9-]+(?:\(.*?\))?(?:<[^<>]*>)*: (?=Info: |Warning: |Error: |Debug: |Fatal: |Panic: )", re.DOTALL
)


class Header(NamedTuple):
    """``tag`` is without pid; ``text`` is what follows it; ``host`` is empty where the line names none, as in
    Dovecot's own log file.

    ``pid`` is that of RFC 5424; ``time`` is ``None`` where there is no such date.
    """

    time: datetime | None
    host: str
    tag: str
    text: str
    pid: str | None = None


def read_header(line: str, stamps: Stamps, reference: float) -> Header | None:
    """The header of one line; ``None`` if it has none that we know."""
    pri = PRI.match(line)
    if pri is not None:
        line = line[pri.end() :]
        structured = _RFC5424.match(line)
        if structured is not None:
            return _rfc5424(line, structured, stamps)
    iso = _ISO.match(line)
    if iso is not None:
        time, start = stamps.iso(iso[0][:-1]), iso.end()
    else:
        time, start = stamps.bsd(line, reference)
        if start == 0:
            return None
    return _tagged(time, line[start:])


def _rfc5424(line: str, match: re.Match[str], stamps: Stamps) -> Header | None:
    rest = line[match.end() :]
    if rest.startswith("["):
        values = _SD_VALUE.match(rest)
        if values is None:
            return None
        rest = rest[values.end() :]
    elif rest.startswith("-"):
        rest = rest[1:]
    else:
        return None
    text = rest.lstrip(" ").removeprefix("\ufeff").lstrip(" ")  # rsyslog keeps the blank that followed the tag
    return Header(stamps.iso(match[1]), match[2], match[3], text, match[4])


def _tagged(time: datetime | None, rest: str) -> Header | None:
    first, _, after = rest.partition(" ")
    if first.endswith(":") or "(" in first or "<" in first:
        process = _PROCESS.match(rest)
        if process is not None:
            return Header(time, "", rest[: process.end() - 2], rest[process.end() :])
        return Header(time, "", first[:-1].partition("[")[0], after) if first.endswith(":") else None
    pid = _PID.match(after)
    if pid is not None:  # `sogod [12]: text`: the first word is the tag
        return Header(time, "", first, after[pid.end() :])
    tag, found, text = after.partition(": ")
    if not found:
        if not after.endswith(":"):
            return None
        tag, text = after[:-1], ""
    return Header(time, first, tag.partition("[")[0], text)
