"""What shippers wrap around a line: a JSON object that names time, host, program and message.

journald's JSON export, rsyslog and syslog-ng templates, Vector, Fluent Bit, Filebeat (ECS), Docker's json-file, GELF.
The envelope's own fields count; the message is read for a header of its own only where no program is named, and then
never overrides a host that is.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import msgspec

from pipeline.formats.reading.stamps import Stamps

_OBJECT = msgspec.json.Decoder(dict[str, object])
_LONGEST_NAME = 255
_TIMES = (
    "__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP", "timereported", "@timestamp", "timestamp", "ISODATE", "time",
    "date", "DATE", "TIMESTAMP", "ts", "timegenerated", "eventtime",
)  # fmt: skip
_HOSTS = ("_HOSTNAME", "hostname", "HOST", "syslog_hostname", "host", "fromhost", "MACHINE", "source_host", "agent")
_PROGRAMS = (
    "SYSLOG_IDENTIFIER", "syslogtag", "appname", "app_name", "app-name", "PROGRAM", "program", "ident",
    "syslog_program", "syslog_identifier", "_application_name", "application_name", "APP_NAME", "APP-NAME",
    "programname", "process", "_COMM",
)  # fmt: skip
_PIDS = ("SYSLOG_PID", "_PID", "procid", "pid", "PID")
_MESSAGES = ("MESSAGE", "message", "msg", "log", "short_message", "MSG", "event", "rawmsg")
_INNER = ("name", "hostname", "original")  # of the objects host, process and event in ECS


class Envelope(NamedTuple):
    """``time`` is ``None`` if there is none that can be read; ``host`` and ``tag`` are empty if there are none."""

    time: datetime | None
    host: str
    tag: str
    message: str
    pid: str | None


def decode_object(line: str) -> dict[str, object] | None:
    """The JSON object of a line; ``None`` if it is none."""
    try:
        return _OBJECT.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None


@lru_cache(maxsize=256)
def _present(names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Which of an object's names say what. The objects of one shipper have the same names."""
    return tuple(
        tuple(name for name in known if name in names) for known in (_TIMES, _HOSTS, _PROGRAMS, _MESSAGES, _PIDS)
    )


def open_envelope(fields: Mapping[str, object], stamps: Stamps) -> Envelope | None:
    """What a JSON object wraps; ``None`` if it holds no message."""
    times, hosts, programs, messages, pids = _present(tuple(fields))
    message = _text(fields, messages)
    if not message:
        return None
    time = next((time for name in times if (time := stamps.any(fields[name])) is not None), None)
    host = _text(fields, hosts)
    tag = (_text(fields, programs) or _nested_program(fields)).strip()
    tag, _, inner = tag.removesuffix(":").partition("[") if len(tag) <= _LONGEST_NAME else ("", "", "")
    pid = inner.removesuffix("]") or next((str(fields[name]) for name in pids), None)
    return Envelope(time, host if len(host) <= _LONGEST_NAME else "", tag, message.strip(" \r\n"), pid)


def _nested_program(fields: Mapping[str, object]) -> str:
    """``log.syslog.appname`` of ECS; ``tag`` if it is a syslog tag, since others use the word for what they like."""
    log = fields.get("log")
    syslog = log.get("syslog") if isinstance(log, dict) else None
    name = syslog.get("appname") if isinstance(syslog, dict) else None
    if isinstance(name, str):
        return name
    tag = fields.get("tag")
    return tag if isinstance(tag, str) and tag.rstrip().endswith(("]", ":")) else ""


def _text(fields: Mapping[str, object], names: tuple[str, ...]) -> str:
    """The first of the named fields that is a text; empty if none is."""
    for name in names:
        value = fields[name]
        if isinstance(value, dict):
            value = next((value[inner] for inner in _INNER if inner in value), None)
        elif isinstance(value, list):
            value = _unlisted(value)
        if isinstance(value, str) and value and value != "-":
            return value
    return ""


def _unlisted(value: list[object]) -> str | None:
    """journald writes text that is not UTF-8 as numbers, and a field that is there twice as a list."""
    if value and all(isinstance(byte, int) and 0 <= byte <= 255 for byte in value):
        return bytes(byte for byte in value if isinstance(byte, int)).decode("utf-8", "backslashreplace")
    return value[0] if value and isinstance(value[0], str) else None
