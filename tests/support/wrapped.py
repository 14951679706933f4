"""One plain syslog line in every form in which it may reach us."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from schemas.event import Event

_PLAIN = re.compile(
    r"Nov 24 (?P<clock>[0-9:]{8}) (?P<host>[\w.-]+) (?P<tag>[\w./-]+)(?:\[(?P<pid>[0-9]+)\])?: (?P<text>.*)", re.DOTALL
)


class Plain(NamedTuple):
    """The parts of ``Nov 24 01:50:43 mx tag[pid]: text``."""

    clock: str
    host: str
    tag: str
    pid: str | None
    text: str

    @property
    def line(self) -> str:
        return f"Nov 24 {self.clock} {self.host} {self.rest}"

    @property
    def rest(self) -> str:
        return f"{self.tag}[{self.pid}]: {self.text}" if self.pid else f"{self.tag}: {self.text}"

    @property
    def seconds(self) -> int:
        return int(datetime.fromisoformat(f"2026-11-24T{self.clock}+00:00").timestamp())


def plain(line: str) -> Plain | None:
    """The parts of a line; ``None`` if it is none of that form."""
    match = _PLAIN.fullmatch(line)
    return None if match is None else Plain(*match.groups())  # type: ignore[arg-type]  # only the pid may be None


def _attributes(**told: str) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in told.items()]


def _otlp(record: dict[str, Any], **resource: str) -> dict[str, Any]:
    scopes = [{"scope": {}, "logRecords": [record]}]
    return {"resourceLogs": [{"resource": {"attributes": _attributes(**resource)}, "scopeLogs": scopes}]}


def _journal(of: Plain) -> dict[str, Any]:
    pid = {"SYSLOG_PID": of.pid, "_PID": of.pid} if of.pid else {}
    return pid | {
        "__REALTIME_TIMESTAMP": f"{of.seconds}363357", "_HOSTNAME": of.host, "PRIORITY": "6", "_COMM": "smtpd",
        "SYSLOG_IDENTIFIER": of.tag, "MESSAGE": of.text,
    }  # fmt: skip


def _fluentd(of: Plain) -> dict[str, Any]:
    return {"host": of.host, "ident": of.tag, "pid": of.pid, "message": of.text}


def _stream(of: Plain) -> dict[str, Any]:
    return {"stream": {"job": "mail", "host": "node1"}, "values": [["1795485100000000000", of.line]]}


def _nanoseconds(of: Plain) -> str:
    return f"{of.seconds}363357001"


STAMP = "2026-11-24T{0.clock}.123456789Z"
HEADERS: dict[str, Callable[[Plain], str]] = {
    "RFC 3339": lambda of: f"2026-11-24T{of.clock}.123456+00:00 {of.host} {of.rest}",
    "a priority": lambda of: f"<22>{of.line}",
    "two priorities": lambda of: f"<22><22>{of.line}",
    "an octet count": lambda of: f"{len(of.line)} <22>{of.line}",
    "BusyBox": lambda of: f"Nov 24 {of.clock} {of.host} mail.warn {of.rest}",
    "FreeBSD -v": lambda of: f"Nov 24 {of.clock} <2.6> {of.host} {of.rest}",
    "FreeBSD -v -v": lambda of: f"Nov 24 {of.clock} <mail.info> {of.host} {of.rest}",
    "a level after the host": lambda of: f"Nov 24 {of.clock} {of.host} <mail.info> {of.rest}",
    "a fraction": lambda of: f"Nov 24 {of.clock}.123456 {of.host} {of.rest}",
    "milliseconds": lambda of: f"Nov 24 {of.clock}.123 {of.host} {of.rest}",
    "a year": lambda of: f"Nov 24 2026 {of.clock} {of.host} {of.rest}",
    "a year first": lambda of: f"2026 Nov 24 {of.clock} {of.host} {of.rest}",
    "a year and a fraction": lambda of: f"2026 Nov 24 {of.clock}.123 {of.host} {of.rest}",
    "ctime": lambda of: f"Tue Nov 24 {of.clock} 2026 {of.host} {of.rest}",
    "short-full": lambda of: f"Tue 2026-11-24 {of.clock} UTC {of.host} {of.rest}",
    "short-full, an offset": lambda of: f"Tue 2026-11-24 {of.clock} +00 {of.host} {of.rest}",
    "short-iso, old": lambda of: f"2026-11-24T{of.clock}+0000 {of.host} {of.rest}",
    "short-unix": lambda of: f"{of.seconds}.363357 {of.host} {of.rest}",
    "seconds": lambda of: f"{of.seconds} {of.host} {of.rest}",
    "AIX": lambda of: f"Nov 24 {of.clock} relay Message forwarded from {of.host}: {of.rest}",
}
AROUND: dict[str, Callable[[Plain], str]] = {
    "docker logs -t": lambda of: f"{STAMP.format(of)} {of.line}",
    "compose": lambda of: f"mx-1  | {of.line}",
    "compose, in colour": lambda of: f"\x1b[36mmx-1  | \x1b[0m{of.line}",
    "compose -t": lambda of: f"mail-mx-1       | {STAMP.format(of)} {of.line}",
    "docker service logs": lambda of: f"mail_mx.1.ab12cd34ef@node1    | {of.line}",
    "docker service logs -t": lambda of: f"{STAMP.format(of)} mail_mx.1.ab12cd34ef@node1    | {of.line}",
    "kubectl --prefix": lambda of: f"[pod/mx-0/postfix] {of.line}",
    "kubectl --timestamps": lambda of: f"[pod/mx-0/postfix] {STAMP.format(of)} {of.line}",
    "stern": lambda of: f"mx-0 postfix {of.line}",
    "CRI": lambda of: f"{STAMP.format(of)} stdout F {of.line}",
    "a relay": lambda of: f"Nov 24 01:51:43 relay {of.line}",
    "a relay, RFC 3339": lambda of: f"2026-11-24T01:51:43+00:00 10.0.0.5 {of.line}",
    "a relay that keeps the priority": lambda of: f"Nov 24 01:51:43 relay <22>{of.line}",
    "RFC 5424 without a program": lambda of: f"<22>1 2026-11-24T01:51:43Z relay - - - - {of.line}",
    "RFC 5424 that knows nothing": lambda of: f"<22>1 - - - - - - {of.line}",
    "a file that was read": lambda of: f"Nov 24 01:51:43 relay mail.log: {of.line}",
    "Docker's driver for syslog": lambda of: f"<30>Nov 24 01:51:43 node1 3fa2b1c8d9e0[99]: {of.line}",
    "grep": lambda of: f"/var/log/mail.log:{of.line}",
    "grep -n": lambda of: f"/var/log/mail.log.1:812:{of.line}",
}
ENVELOPES: dict[str, Callable[[Plain], dict[str, Any]]] = {
    "journald": _journal,
    "Fluent Bit, systemd": lambda of: {
        "date": of.seconds + 0.5, "HOSTNAME": of.host, "SYSLOG_IDENTIFIER": of.tag, "COMM": "smtpd", "MESSAGE": of.text,
        "PID": of.pid,
    },
    "Filebeat 7, journald": lambda of: {
        "@timestamp": f"2026-11-24T{of.clock}.000Z", "host": {"hostname": of.host, "id": "x"}, "message": of.text,
        "syslog": {"identifier": of.tag, "priority": 6, "facility": {"code": 2}},
        "journald": {"process": {"name": "smtpd"}, "pid": of.pid}, "agent": {"type": "filebeat", "hostname": "shipper"},
    },
    "Filebeat 8, journald": lambda of: {
        "@timestamp": f"2026-11-24T{of.clock}.000Z", "host": {"hostname": of.host}, "message": of.text,
        "log": {"syslog": {"appname": of.tag, "priority": 6}}, "process": {"name": "smtpd", "pid": of.pid},
    },
    "Filebeat, syslog input": lambda of: {
        "@timestamp": f"2026-11-24T{of.clock}.000Z", "hostname": of.host, "message": of.text,
        "process": {"program": of.tag, "pid": of.pid}, "syslog": {"facility": 2, "priority": 22},
        "host": {"name": "shipper"}, "log": {"source": {"address": "10.0.0.5:514"}}, "event": {"severity": 6},
    },
    "Filebeat, syslog processor": lambda of: {
        "@timestamp": f"2026-11-24T{of.clock}.000Z", "host": {"name": "shipper"}, "message": of.text,
        "log": {"syslog": {"hostname": of.host, "appname": of.tag, "procid": of.pid}},
    },
    "names with dots": lambda of: {
        "@timestamp": f"2026-11-24T{of.clock}.000Z", "host.hostname": of.host, "log.syslog.appname": of.tag,
        "process.name": "smtpd", "process.pid": of.pid, "message": of.text,
    },
    "Logstash": lambda of: {
        "@timestamp": f"2026-11-24T{of.clock}.000Z", "logsource": of.host, "program": of.tag, "host": "10.0.0.5",
        "message": of.text, "timestamp": f"Nov 24 {of.clock}", "facility_label": "mail", "pid": of.pid,
    },
    "NXLog": lambda of: {
        "EventReceivedTime": "2026-11-24 09:50:43", "SourceModuleName": "in", "SourceModuleType": "im_uds",
        "SyslogFacility": "MAIL", "EventTime": f"2026-11-24 {of.clock}", "Hostname": of.host, "SourceName": of.tag,
        "ProcessID": of.pid, "Message": of.text,
    },
    "Fluentd, syslog": lambda of: {
        "time": f"2026-11-24 {of.clock} +0000", "host": of.host, "ident": of.tag, "pid": of.pid, "message": of.text,
    },
    "Vector": lambda of: {
        "appname": of.tag, "host": "relay", "hostname": of.host, "message": of.text, "procid": of.pid,
        "source_type": "syslog", "timestamp": f"2026-11-24T{of.clock}Z",
    },
    "Graylog": lambda of: {
        "source": of.host, "application_name": of.tag, "message": of.text, "timestamp": f"2026-11-24T{of.clock}.000Z",
        "process_id": of.pid,
    },
    "Splunk's collector": lambda of: {
        "time": of.seconds, "host": of.host, "event": {"program": of.tag, "pid": of.pid, "message": of.text},
    },
    "OpenTelemetry, syslog": lambda of: _otlp({
        "timeUnixNano": _nanoseconds(of), "body": {"stringValue": of.line},
        "attributes": _attributes(appname=of.tag, hostname=of.host, message=of.text, proc_id=of.pid or ""),
    }),
    "OpenTelemetry, journald": lambda of: _otlp({
        "timeUnixNano": _nanoseconds(of),
        "body": {"kvlistValue": {"values": _attributes(**_journal(of))}},
    }),
}  # fmt: skip
"""JSON objects that name time, host and program."""
WHOLE: dict[str, Callable[[Plain], dict[str, Any]]] = {
    "Docker's json-file": lambda of: {"log": of.line + "\n", "stream": "stdout", "time": "2026-11-24T01:51:43.1Z"},
    "Docker's driver for Fluentd": lambda of: {
        "container_id": "3f" * 32, "container_name": "/mx", "source": "stdout", "log": of.line,
    },
    "Docker's driver for journald": lambda of: _journal(of) | {
        "_HOSTNAME": "node1", "SYSLOG_IDENTIFIER": "3fa2b1c8d9e0", "CONTAINER_NAME": "mx", "MESSAGE": of.line,
    },
    "Docker's driver for journald, with a tag": lambda of: _journal(of) | {
        "_HOSTNAME": "node1", "SYSLOG_IDENTIFIER": "our-mail", "CONTAINER_NAME": "mx", "MESSAGE": of.line,
    },
    "Docker's driver for GELF": lambda of: {
        "version": "1.1", "host": "node1", "short_message": of.line, "timestamp": 1795485100.1, "_tag": "3fa2b1c8d9e0",
        "_container_id": "3f" * 32,
    },
    "Fluent Bit, Kubernetes": lambda of: {
        "date": 1795485100.5, "log": of.line, "stream": "stdout", "kubernetes": {"pod_name": "mx-0", "host": "node1"},
    },
    "Filebeat, container": lambda of: {
        "@timestamp": "2026-11-24T01:51:43.000Z", "message": of.line, "container": {"id": "3fa2"}, "stream": "stdout",
        "log": {"file": {"path": "/var/log/x"}, "offset": 1}, "host": {"name": "node1"}, "agent": {"hostname": "node1"},
    },
    "Elasticsearch": lambda of: {"_index": "mail", "_source": {"message": of.line, "host": {"name": "relay"}}},
    "Google Cloud": lambda of: {"timestamp": "2026-11-24T01:51:43Z", "textPayload": of.line},
    "OpenTelemetry, a file": lambda of: _otlp({
        "observedTimeUnixNano": "1795485100000000000", "body": {"stringValue": of.line},
        "attributes": _attributes(**{"log.file.name": "mail.log"}),
    }, **{"host.name": "node1"}),
    "Loki": lambda of: {"streams": [_stream(of)]},
    "what Loki is asked": lambda of: {
        "status": "success",
        "data": {"resultType": "streams", "result": [_stream(of)]},
    },
    "logcli": lambda of: {"labels": {"host": "node1"}, "line": of.line, "timestamp": "2026-11-24T01:51:43Z"},
    "promtail, pack": lambda of: {"_entry": of.line, "host": "node1"},
    "AWS": lambda of: {"logGroup": "mail", "logEvents": [{"id": "1", "timestamp": 1795485100000, "message": of.line}]},
}  # fmt: skip
"""JSON objects around a whole line."""
TEXTS = HEADERS | AROUND
OBJECTS = ENVELOPES | WHOLE
PREFIXED: dict[str, Callable[[Plain], str]] = {
    "json-sse": lambda of: f"data: {json.dumps(_journal(of))}",
    "json-seq": lambda of: f"\x1e{json.dumps(_journal(of))}",
    "Fluentd, a file": lambda of: f"2026-11-24T{of.clock}+00:00\tmail.smtpd\t{json.dumps(_fluentd(of))}",
    "an array": lambda of: json.dumps([_journal(of)]),
}
FORMS: dict[str, Callable[[Plain], str]] = {
    **TEXTS,
    **{name: lambda of, make=make: json.dumps(make(of)) for name, make in OBJECTS.items()},  # type: ignore[misc]
    **PREFIXED,
}
"""Name of a form -> the line in it."""


def whole_second(outcome: object) -> object:
    """The outcome without what a form's stamp tells beyond the second."""
    if isinstance(outcome, Event):
        outcome.time = outcome.time.replace(microsecond=0).astimezone(UTC)
    return outcome
