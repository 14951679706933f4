"""What shippers wrap around a line: a JSON object that names time, host, program and message.

journald's JSON export, rsyslog and syslog-ng templates, Vector, Fluent Bit, Fluentd, Filebeat and Logstash (ECS),
NXLog, Docker's json-file, GELF, OpenTelemetry, Loki. The envelope's own fields count; the message is read for a header
of its own only where no program is named, or none of a container's output, and then the header's own fields count.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import msgspec

from pipeline.formats.reading.stamps import Stamps

_OBJECT = msgspec.json.Decoder(dict[str, object])
_LONGEST_NAME = 255
# In lower case, without ``_`` and ``@`` before them, ``-`` as ``_``; a dot leads into an object, or stands in a name.
_TIMES = (
    "realtime_timestamp", "source_realtime_timestamp", "timereported", "timestamp", "isodate", "eventtime", "time",
    "date", "ts", "timeunixnano", "timegenerated", "observedtimeunixnano", "eventreceivedtime", "received_at",
)  # fmt: skip
_HOSTS = (
    "log.syslog.hostname", "syslog_hostname", "hostname", "logsource", "host", "host.hostname", "host.name", "fromhost",
    "machine", "source_host", "beat", "agent", "labels.hostname", "labels.host", "source", "received_from",
)  # fmt: skip
_PROGRAMS = (
    "syslog_identifier", "syslogtag", "log.syslog.appname", "syslog.identifier", "process.program", "appname",
    "app_name", "program", "ident", "syslog_program", "application_name", "sourcename", "programname", "process",
    "process.name", "comm", "journald.process.name",
)  # fmt: skip
_PIDS = (
    "syslog_pid", "log.syslog.procid", "syslog.pid", "process.pid", "journald.pid", "pid", "procid", "proc_id",
    "process_id", "processid",
)  # fmt: skip
_MESSAGES = (
    "message", "msg", "log", "short_message", "event", "rawmsg", "textpayload", "payload", "entry", "line", "raw_event",
    "body",
)  # fmt: skip
_CONTAINERS = ("container_id", "container_name", "container", "kubernetes", "docker")
_OBJECTS = ("source", "event", "jsonpayload", "payload", "message", "log", "log_processed", "record", "body")
_INNER = ("name", "hostname", "original")  # of the objects host, process and event in ECS
_STREAMS = ("stdout", "stderr")
_WITHIN = 2  # objects within objects that are looked into for a message

Place = tuple[str, tuple[str, ...]]
"""A name of the object, and those that lead on within it."""


class Envelope(NamedTuple):
    """``time`` is ``None`` if there is none that can be read; ``host`` and ``tag`` are empty if there are none.
    ``contained``: the message is what a container wrote."""

    time: datetime | None
    host: str
    tag: str
    message: str
    pid: str | None
    contained: bool = False


def decode_object(line: str) -> dict[str, object] | None:
    """The JSON object of a line; ``None`` if it is none."""
    try:
        return _OBJECT.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None


@lru_cache(maxsize=256)
def _present(names: tuple[str, ...]) -> tuple[tuple[tuple[Place, ...], ...], bool]:
    """Which of an object's names say what, and whether it is a container's. The objects of one shipper have the same
    names."""
    known: dict[str, list[str]] = {}
    for name in names:
        known.setdefault(name.lower().lstrip("_@").replace("-", "_"), []).append(name)
    told = (_TIMES, _HOSTS, _PROGRAMS, _MESSAGES, _PIDS)
    places = tuple(tuple(place for path in paths for place in _places(path, known)) for paths in told)
    return places, any(name in known for name in _CONTAINERS)


def _places(path: str, known: Mapping[str, list[str]]) -> Iterator[Place]:
    words = path.split(".")
    for count in range(len(words), 0, -1):
        for name in known.get(".".join(words[:count]), ()):
            yield name, tuple(words[count:])


def open_envelope(fields: Mapping[str, object], stamps: Stamps, depth: int = 0) -> Envelope | None:
    """What a JSON object wraps; ``None`` if it holds no message."""
    (times, hosts, programs, messages, pids), contained = _present(tuple(fields))
    message = _text(fields, messages)
    if not message:
        return _inner_envelope(fields, stamps, depth) if depth < _WITHIN else None
    time = _time(fields, times, stamps)
    host = _text(fields, hosts)
    tag = (_text(fields, programs) or _tag(fields)).strip()
    tag, _, inner = tag.removesuffix(":").partition("[") if len(tag) <= _LONGEST_NAME else ("", "", "")
    pid = inner.removesuffix("]") or _pid(fields, pids)
    host = host if len(host) <= _LONGEST_NAME else ""
    return Envelope(time, host, tag, message.strip(" \r\n"), pid, contained)


def _inner_envelope(fields: Mapping[str, object], stamps: Stamps, depth: int) -> Envelope | None:
    """What an object within the object wraps: what that does not tell is told by the outer one."""
    for name, value in fields.items():
        if isinstance(value, dict) and name.lower().lstrip("_@") in _OBJECTS:
            inner = open_envelope(value, stamps, depth + 1)
            if inner is not None:
                (times, hosts, *_), contained = _present(tuple(fields))
                time = inner.time or _time(fields, times, stamps)
                host = inner.host or _text(fields, hosts)[:_LONGEST_NAME]
                return inner._replace(time=time, host=host, contained=contained or inner.contained)
    return None


def _time(fields: Mapping[str, object], places: tuple[Place, ...], stamps: Stamps) -> datetime | None:
    for name, inner in places:
        value = fields[name]
        time = stamps.any(_within(value, inner) if inner else value)
        if time is not None:
            return time
    return None


def _pid(fields: Mapping[str, object], places: tuple[Place, ...]) -> str | None:
    for name, inner in places:
        value = fields[name]
        if inner:
            value = _within(value, inner)
        if value:
            return str(value)
    return None


def _within(value: object, inner: tuple[str, ...]) -> object:
    for name in inner:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _tag(fields: Mapping[str, object]) -> str:
    """``tag`` if it is a syslog tag, since others use the word for what they like."""
    tag = fields.get("tag")
    return tag if isinstance(tag, str) and tag.rstrip().endswith(("]", ":")) else ""


def _text(fields: Mapping[str, object], places: tuple[Place, ...]) -> str:
    """The first of the named fields that is a text; empty if none is."""
    for name, inner in places:
        value = fields[name]
        if inner:
            value = _within(value, inner)
        if isinstance(value, dict):
            value = next((value[known] for known in _INNER if known in value), None)
        elif isinstance(value, list):
            value = _unlisted(value)
        if isinstance(value, str) and value and value != "-" and not (name == "source" and value in _STREAMS):
            return value
    return ""


def _unlisted(value: list[object]) -> str | None:
    """journald writes text that is not UTF-8 as numbers, and a field that is there twice as a list."""
    if value and all(isinstance(byte, int) and 0 <= byte <= 255 for byte in value):
        return bytes(byte for byte in value if isinstance(byte, int)).decode("utf-8", "backslashreplace")
    return value[0] if value and isinstance(value[0], str) else None
