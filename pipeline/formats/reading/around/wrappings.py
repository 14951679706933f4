"""What stands around a line beside its own header, and headers that only some syslog daemons write.

A container's output as ``docker logs -t``, compose, kubectl and the container runtime show it, a relay's second header,
lines that journalctl, BusyBox, FreeBSD or OpenWrt wrote: each is taken off, or written anew as the plain form has it,
and what is left is read as a line of its own. Whoever asks has found no header of a mail program at the line's start.

None of these patterns has a place that a client could write to: names are those of hosts, containers and files, and
what follows them must itself begin as a line does.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.formats.reading.stamps import Stamps

TAGGED = re.compile(r"([A-Za-z][\w./-]{0,80})(?:\[([0-9]+)\])?: ")
"""A tag, and its pid, without a time before it."""
WRAPPER = re.compile(r"-|[0-9a-f]{12}|[0-9a-f]{64}|docker|[\w.-]{1,60}\.log|maillog|syslog|messages")
"""Tags that are no program's: of a container's output (its id), of a file that was read, or none (RFC 5424)."""

_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}"
_BSD = rf"[A-Z][a-z]{{2}} {{1,2}}[0-9]{{1,2}} {_CLOCK}"
_ISO = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}[0-9.,:Z+-]{{0,20}}"
_STAMP = rf"(?:{_BSD}|{_ISO}|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} {_CLOCK}[0-9.,]{{0,10}})"
_HOST = r"[\w.:%@/-]{1,255}(?<!:)"
_NAME = r"[\w.@/-]{1,200}"
_COLOUR = r"(?:\x1b\[[0-9;]{0,12}m)*"
_WORD = rf"{_COLOUR}[a-z0-9][\w.-]{{0,250}}{_COLOUR}"
_START = r"(?=<[0-9]{1,3}>|[{\[]|1 [0-9]{4}-|[A-Z][a-z]{2} |[0-9]{4}[-/ ]|[0-9]{10}[. ]|@4000)"
_SYSLOG_START = (
    rf"(?=(?:<[0-9]{{1,3}}>)?(?:{_STAMP}|[0-9]{{10}}[. ]|[0-9]{{4}} [A-Z][a-z]{{2}} "
    r"|[A-Z][a-z]{2} (?:[ 0-9][0-9] [0-9]{4} |[0-9]{4}-|[A-Z][a-z]{2} )))"
)
_NO_HOST = r"(?!(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|[0-9]{4}) )"
_LEVEL = (
    r"(?:(?:kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|ntp|security|console|audit|local[0-7])"
    r"\.(?:emerg|panic|alert|crit|err|error|warn|warning|notice|info|debug|none)|[0-9]{1,3}\.[0-7])"
)

_RELAY = re.compile(rf"(?P<time>{_STAMP}) {_NO_HOST}(?P<host>{_HOST}) {_START}")
_AIX = re.compile(rf"(?P<time>{_STAMP}) (?P<unused>{_HOST} )?Message forwarded from (?P<host>{_HOST}): (?=\S)")
_FLUENTD = re.compile(rf"(?P<time>{_STAMP}(?: [+-][0-9]{{4}})?)[\t ][\w.*-]{{1,100}}[\t:] ?(?=\{{)")
_AFTER_BSD = (_RELAY, _AIX, _FLUENTD)
_AFTER_ISO = (
    re.compile(rf"(?P<time>{_ISO}) (?:stdout|stderr) [FP] "),  # Kubernetes (CRI logging format)
    *_AFTER_BSD,
    re.compile(rf"(?P<time>{_ISO}) (?=\S)"),  # docker logs -t, kubectl logs --timestamps
)
_AT_FIRST = (
    *(
        re.compile(pattern)
        for pattern in (
            rf"{_COLOUR}{_NAME} *{_COLOUR} ?\| ?{_COLOUR} ?(?=\S)",  # docker compose logs, docker service logs
            rf"{_COLOUR}\[(?=[^\]]*[/-])[a-z0-9][\w./ -]{{1,250}}\]{_COLOUR} (?=\S)",  # kubectl logs --prefix
            rf"{_WORD} {_WORD} {_SYSLOG_START}",  # stern
            rf"[\w./-]{{1,250}}:(?:[0-9]{{1,9}}:)?{_SYSLOG_START}",  # grep's name of the file
            r"data: (?=\{)|\x1e(?=\{)",  # journalctl -o json-sse and json-seq
            r"[0-9]{1,6} (?=<[0-9]{1,3}>)",  # octet counts (RFC 6587)
            r"<[0-9]{1,3}>(?=<)",  # one more priority
        )
    ),
    *_AFTER_BSD,  # where the day has one digit and no blank
)
_FORMS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rf"(?P<bsd>{_BSD})\.(?P<fraction>[0-9]{{1,9}}) (?P<rest>.*)",
        rf"(?:(?P<first>[0-9]{{4}}) )?(?P<month>[A-Z][a-z]{{2}}) {{1,2}}(?P<day>[0-9]{{1,2}}) "
        rf"(?:(?P<year>[0-9]{{4}}) )?(?P<clock>{_CLOCK}(?:\.[0-9]{{1,9}})?) (?P<rest>.*)",
        rf"(?:\w{{2,4}}\.? )?(?P<date>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}) (?P<clock>{_CLOCK}(?:\.[0-9]{{1,9}})?) "
        r"(?P<zone>[A-Z]{1,5}|[+-][0-9]{2}(?::?[0-9]{2})?) (?P<rest>.*)",
        rf"[A-Z][a-z]{{2}} (?P<month>[A-Z][a-z]{{2}}) {{1,2}}(?P<day>[0-9]{{1,2}}) (?P<clock>{_CLOCK}) "
        rf"(?P<year>[0-9]{{4}}) (?:{_LEVEL} )?(?P<rest>.*)",
        r"(?P<seconds>[0-9]{10}(?:\.[0-9]{1,9})?) (?P<rest>.*)",
        r"(?P<boot>\[ *[0-9]{1,10}\.[0-9]{6}(?: *<[0-9. ]*>)?\]) (?P<rest>.*)",
        r"(?P<structured>1 (?=[0-9]{4}-[0-9]{2}-[0-9]{2}T))(?P<rest>.*)",
    )
)
_LEVELLED = re.compile(rf"(?P<time>{_STAMP}) (?:<{_LEVEL}> |(?P<host>{_HOST}) (?:<{_LEVEL}>|{_LEVEL}) )")
_UNIT = re.compile(rf"({_STAMP} (?:{_HOST} )?)([\w-]+)(?:@[\w.\\-]*)?\.service(?=\[[0-9]+\]: |: )")
_BOOT = "the seconds since the host's start are no time: take another form, such as journalctl -o short-iso"


class Unwrapped(NamedTuple):
    """``line``: what is left. ``time``, ``host``: those of what was around it; ``None``, and empty, where it tells
    none. ``microseconds``: what the line's own stamp told beyond the second. ``trouble``: why its time cannot be."""

    line: str
    time: datetime | None = None
    host: str = ""
    microseconds: int = 0
    trouble: str = ""


def unwrapped(line: str, stamps: Sequence[Stamps]) -> Unwrapped | None:
    """One wrapping less, and the header of what is left as the plain form has it; ``None``: there is nothing to do.

    ``stamps``: of the zones that are known, that of lines without one first.
    """
    patterns = _AFTER_ISO if _is_iso(line) else _AFTER_BSD if _is_bsd(line) else _AT_FIRST
    found = next((match for pattern in patterns if (match := pattern.match(line)) is not None), None)
    if found is None:
        return _plain(line, stamps)
    told, rest = found.groupdict(), line[found.end() :]
    host = told.get("host") or ""
    time = stamps[0].any(told["time"]) if "time" in told else None
    if rest.startswith("{"):
        return Unwrapped(_told(rest, time, host), time, host)
    if "unused" in told:
        return Unwrapped(f"{told['time']} {host} {rest}", time, host)
    inner = _plain(rest, stamps)
    if inner is None:
        return Unwrapped(rest, time, host)
    return Unwrapped(inner.line, time, host, inner.microseconds, inner.trouble)


def _is_bsd(line: str) -> bool:
    """Does it begin as ``Nov 24 01:50:43 ``?"""
    return line[3:16:3] == "  :: " and line[:1].isalpha()


def _is_iso(line: str) -> bool:
    """Does it begin as ``2026-11-24``?"""
    return line[4:8:3] == "--" and line[:4].isdigit()


def _told(line: str, time: datetime | None, host: str) -> str:
    """A JSON object that says what stood around it, in names that count last."""
    told = f'"received_at":"{time.isoformat()}",' if time else ""
    told += f'"received_from":"{host}",' if host else ""
    return line if line[1:].lstrip().startswith("}") else f"{{{told}{line[1:]}"


def _plain(line: str, stamps: Sequence[Stamps]) -> Unwrapped | None:
    """The line as the plain form has it; ``None`` if it is as good as that already."""
    taken = None
    if not _is_bsd(line) and line[10:11] != "T":
        stamped = next((match for form in _FORMS if (match := form.match(line)) is not None), None)
        taken = None if stamped is None else _stamped(stamped.groupdict(), stamps)
    before = line if taken is None else taken.line
    after = before
    level = _LEVELLED.match(before)
    if level is not None:
        host = f"{level['host']} " if level["host"] else ""
        after = f"{level['time']} {host}{before[level.end() :]}"
    unit = _UNIT.match(after) if ".service" in after[:400] else None
    if unit is not None:
        after = f"{unit[1]}{unit[2]}{after[unit.end() :]}"
    if taken is not None:
        return taken._replace(line=after)
    return None if after is before else Unwrapped(after)


def _stamped(told: dict[str, str | None], stamps: Sequence[Stamps]) -> Unwrapped | None:
    """A line whose stamp is of another form."""
    rest = told["rest"]
    if told.get("bsd"):
        return Unwrapped(f"{told['bsd']} {rest}", microseconds=int(f"{told['fraction']}000000"[:6]))
    if told.get("structured"):
        return Unwrapped(f"<22>1 {rest}")
    if told.get("boot"):
        return Unwrapped(f"1970-01-01T00:00:00Z {rest}", trouble=_BOOT)
    if told.get("seconds"):
        time = stamps[0].any(told["seconds"])
        return None if time is None else Unwrapped(f"{time.isoformat()} {rest}")
    if told.get("zone"):
        text, zone = f"{told['date']}T{told['clock']}", told["zone"] or ""
        time = next((time for own in stamps if (time := own.named(text, zone)) is not None), None)
        if time is not None:
            return Unwrapped(f"{time.astimezone(UTC).isoformat()} {rest}")
        return Unwrapped(f"{text}Z {rest}", trouble=f"the zone {zone} is not known here: say which (SEKIMORI_ZONE)")
    year = told.get("first") or told["year"]
    date = None if year is None else stamps[0].day(year, told["month"] or "", told["day"] or "")
    return None if date is None else Unwrapped(f"{date}T{told['clock']} {rest}")
