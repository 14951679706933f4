"""What shippers make of one and the same line. Lines of rsyslog 8.2302 and syslog-ng 3.38 as they wrote them."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cli.parse import parse
from pipeline.formats.reading.format import Unreadable
from pipeline.formats.reading.lines import LineReader, split_frame
from schemas.event import Event

REFERENCE = 1_796_083_200.0  # 2026-12-01
USER = 'al"ice@example.org'
TEXT = f"4jYQJg4KFnzJB9r: client=unknown[198.51.100.7], sasl_method=PLAIN, sasl_username={USER}"
TAG = "postfix/submission/smtpd"
TIME = datetime(2026, 11, 24, 3, 37, 15, tzinfo=UTC)
BSD = f"Nov 24 03:37:15 mx {TAG}[123]: {TEXT}"
JSONMESG: dict[str, object] = {
    "msg": f" {TEXT}", "rawmsg": f"<22>Nov 24 03:37:15 {TAG}[123]: {TEXT}", "fromhost": "relay",
    "timereported": "2026-11-24T03:37:15.363357+00:00", "hostname": "mx", "syslogtag": f"{TAG}[123]:", "pri": "22",
    "inputname": "imuxsock", "fromhost-ip": "127.0.0.1", "syslogfacility": "2", "syslogseverity": "6",
    "timegenerated": "2026-11-24T04:00:00+00:00", "programname": "postfix", "app-name": "postfix", "procid": "123",
    "structured-data": "-", "msgid": "-", "uuid": None, "$!": None,
}  # fmt: skip
JOURNAL: dict[str, object] = {
    "__REALTIME_TIMESTAMP": "1795491435363357", "__MONOTONIC_TIMESTAMP": "123", "_HOSTNAME": "mx", "PRIORITY": "6",
    "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": TAG, "SYSLOG_PID": "123", "_COMM": "smtpd", "_TRANSPORT": "syslog",
    "SYSLOG_TIMESTAMP": "Nov 24 03:37:15 ", "_PID": "123", "_BOOT_ID": "x",
}  # fmt: skip
PLAIN: dict[str, str] = {
    "rsyslog, traditional": BSD,
    "rsyslog, file": f"2026-11-24T03:37:15.363357+00:00 mx {TAG}[123]: {TEXT}",
    "rsyslog, forward": f"<22>2026-11-24T03:37:15.363357+00:00 mx {TAG}[123]: {TEXT}",
    "rsyslog, traditional forward": f"<22>Nov 24 03:37:15 mx {TAG}[123]: {TEXT}",
    "RFC 5424": f"<22>1 2026-11-24T03:37:15.363357+00:00 mx {TAG} 123 - - {TEXT}",
    "RFC 5424 with a byte order mark": f'<22>1 2026-11-24T03:37:15Z mx {TAG} 123 - [a b="]"] \ufeff{TEXT}',
    "carriage return": f"{BSD}\r",
    "Kubernetes": f"2026-11-24T03:37:15.363357001Z stdout F {BSD}",
}
OBJECTS: dict[str, dict[str, object]] = {
    "rsyslog, list template": {
        "timestamp": "2026-11-24T03:37:15.363357+00:00", "host": "mx", "severity": "info", "facility": "mail",
        "syslogtag": f"{TAG}[123]:", "programname": "postfix", "message": f" {TEXT}",
    },
    "rsyslog, jsonmesg": JSONMESG,
    "syslog-ng": {
        "PROGRAM": TAG, "PRIORITY": "info", "PID": "123", "MESSAGE": TEXT, "ISODATE": "2026-11-24T03:37:15+00:00",
        "HOST": "mx", "FACILITY": "mail", "DATE": "Nov 24 03:37:30",
    },
    "syslog-ng without ISODATE": {
        "SOURCE": "s", "PROGRAM": TAG, "PID": "123", "MESSAGE": TEXT, "LEGACY_MSGHDR": f"{TAG}[123]: ",
        "HOST_FROM": "mx", "HOST": "mx", "DATE": "Nov 24 03:37:15",
    },
    "journald": JOURNAL | {"MESSAGE": TEXT},
    "journald, bytes": JOURNAL | {"MESSAGE": list(TEXT.encode())},
    "Vector, syslog": {
        "appname": TAG, "facility": "mail", "host": "relay", "hostname": "mx", "message": TEXT, "procid": 123,
        "severity": "info", "source_type": "syslog", "timestamp": "2026-11-24T03:37:15Z",
    },
    "Vector, journald": {"host": "mx", "message": TEXT, "timestamp": "2026-11-24T03:37:15.363357Z"}
    | {name: value for name, value in JOURNAL.items() if name != "__REALTIME_TIMESTAMP"},
    "Vector, file": {
        "file": "/var/log/mail.log", "host": "relay", "message": BSD, "source_type": "file",
        "timestamp": "2026-11-24T03:40:00Z",
    },
    "Fluent Bit, tail": {"date": 1795491499.5, "log": BSD},
    "Fluent Bit, syslog": {
        "date": 1795491435.363357, "pri": "22", "host": "mx", "ident": TAG, "pid": "123", "message": TEXT,
    },
    "Filebeat": {
        "@timestamp": "2026-11-24T03:40:00.000Z", "@metadata": {"beat": "filebeat", "type": "_doc"}, "message": BSD,
        "log": {"offset": 12, "file": {"path": "/var/log/mail.log"}}, "host": {"name": "relay"},
        "agent": {"hostname": "relay", "type": "filebeat"}, "input": {"type": "log"}, "ecs": {"version": "8.0.0"},
    },
    "Filebeat, syslog": {
        "@timestamp": "2026-11-24T03:37:15.000Z", "message": TEXT, "host": {"hostname": "mx"},
        "process": {"name": TAG, "pid": 123}, "log": {"syslog": {"priority": 22}},
    },
    "Elastic, log.syslog": {
        "@timestamp": "2026-11-24T03:37:15.000Z", "message": TEXT, "host": {"name": "mx"},
        "log": {"syslog": {"appname": TAG, "priority": 22}},
    },
    "Docker": {"log": f"{BSD}\n", "stream": "stdout", "time": "2026-11-24T03:37:15.363357001Z"},
    "Docker of a Fluent Bit": {
        "log": json.dumps({"date": 1795491499.5, "log": BSD}) + "\n", "stream": "stdout",
        "time": "2026-11-24T03:40:00Z",
    },
    "GELF": {
        "version": "1.1", "host": "mx", "short_message": TEXT, "timestamp": 1795491435.363, "_application_name": TAG,
    },
    "milliseconds": {"ts": 1795491435363, "host": "mx", "program": f"{TAG}[123]", "msg": TEXT},
    "microseconds": {"ts": "1795491435363357", "host": "mx", "program": TAG, "msg": TEXT},
    "a tag under that name": {"time": "2026-11-24T03:37:15Z", "host": "mx", "tag": f"{TAG}[123]:", "message": TEXT},
    "a tag before the message": {"time": "2026-11-24T03:37:15Z", "host": "mx", "message": f"{TAG}[123]: {TEXT}"},
}  # fmt: skip
LINES = PLAIN | {name: json.dumps(fields) for name, fields in OBJECTS.items()}


@pytest.mark.parametrize("name", LINES)
def test_every_envelope_gives_the_same_event(name: str) -> None:
    reader = LineReader()
    for _ in range(2):
        outcome = reader.read_lines(split_frame(LINES[name].encode() + b"\n"), REFERENCE)[0]
        assert isinstance(outcome, Event), outcome
        assert (outcome.kind, outcome.host, outcome.program, outcome.service) == (
            "connect",
            "mx",
            "smtpd",
            "submission",
        )
        assert (outcome.account, outcome.client_ip) == (USER, "198.51.100.7")
        assert (outcome.queue_id, outcome.method) == ("4jYQJg4KFnzJB9r", "PLAIN")
        assert outcome.time.replace(microsecond=0) == TIME


def test_rfc5424_of_rsyslog_has_two_blanks_and_no_more_than_postfix() -> None:
    line = f"<22>1 2026-11-24T03:37:15.363357+00:00 mx postfix 123 - -  {TEXT}"
    outcome = LineReader().read(line, REFERENCE)
    assert isinstance(outcome, Event)
    assert (outcome.program, outcome.account, outcome.queue_id) == ("smtpd", USER, "4jYQJg4KFnzJB9r")


def test_dovecot_in_a_container_names_no_host_and_no_tag() -> None:
    text = "Nov 24 03:37:15 imap-login: Info: Login: user=<bob>, method=PLAIN, rip=198.51.100.7, lip=::1, session=<x>"
    fields = {"log": text + "\n", "stream": "stderr", "time": "2026-11-24T03:37:15Z", "hostname": "mail-0"}
    outcome = LineReader().read(json.dumps(fields), REFERENCE)
    assert isinstance(outcome, Event)
    assert (outcome.kind, outcome.host, outcome.account) == ("auth_success", "mail-0", "bob")


@pytest.mark.parametrize(
    "fields",
    [
        {"message": "hello", "time": "2026-11-24T03:37:15Z"},
        {"program": "kernel", "message": TEXT, "time": "2026-11-24T03:37:15Z"},
        {"program": "nginx", "message": BSD, "time": "2026-11-24T03:37:15Z"},
        {"SYSLOG_IDENTIFIER": "app", "MESSAGE": None, "__REALTIME_TIMESTAMP": "1795491435363357"},
        {"MESSAGE": [1, "x", 3], "SYSLOG_IDENTIFIER": TAG},
        {"message": {"a": 1}},
        {"message": 3},
        {},
    ],
)
def test_other_objects_are_ignored(fields: dict[str, object]) -> None:
    assert LineReader().read(json.dumps(fields), REFERENCE) is None


@pytest.mark.parametrize(
    "line", ["{", "{}", "[]", "[1]", "{'a': 1}", '{"a": "\\ud800"}', '{"message":' * 5000, "[" * 100_000]
)
def test_what_is_no_object_is_ignored(line: str) -> None:
    assert LineReader().read(line, REFERENCE) is None


@pytest.mark.parametrize("time", ["yesterday", None, -1, 1e30, True, [], "2026-13-01T00:00:00Z"])
def test_an_impossible_time_is_unreadable(time: object) -> None:
    line = json.dumps({"program": TAG, "host": "mx", "message": TEXT, "time": time})
    assert LineReader().read(line, REFERENCE) == Unreadable("envelope", "no time that can be read")


def test_envelopes_within_envelopes_are_opened_so_many_times_only() -> None:
    line, outcomes = BSD, []
    for _ in range(12):
        line = json.dumps({"log": line})
        outcomes.append(LineReader().read(line, REFERENCE))
    assert [isinstance(outcome, Event) for outcome in outcomes] == [True] * 3 + [False] * 9


hostile = st.lists(
    st.sampled_from(
        ('"', "\\", "{", "}", '","SYSLOG_IDENTIFIER":"dovecot","', '"MESSAGE":"', "\n", "\r", "\x00", "<22>", BSD,
         "Nov 24 03:37:15 evil postfix/smtpd[1]: ", "mx9 dovecot: ", "postfix/qmgr[1]: ", "]: ", ": ", "[9.9.9.9]")
    )
    | st.text(max_size=5),
    max_size=6,
).map("".join)  # fmt: skip


@given(st.sampled_from([n for n, fields in OBJECTS.items() if TEXT in map(str, fields.values())]), hostile)
@settings(max_examples=150, deadline=None)
def test_no_text_overrides_the_envelope(name: str, text: str) -> None:
    fields = {key: (f"hello {text}" if value == TEXT else value) for key, value in OBJECTS[name].items()}
    outcome = LineReader().read(json.dumps(fields), REFERENCE)
    if name == "a tag before the message":
        return
    assert isinstance(outcome, Event | Unreadable)
    if isinstance(outcome, Event):
        assert (outcome.host, outcome.program) == ("mx", "smtpd")
        assert outcome.account is None
        assert outcome.time.replace(microsecond=0) == TIME


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(sorted({name for fields in OBJECTS.values() for name in fields} | {"event", "reqId", "type"}))


@given(st.dictionaries(names, json_values | st.sampled_from([TEXT, BSD, TAG]), max_size=8))
@settings(max_examples=150, deadline=None)
def test_no_object_raises(fields: dict[str, object]) -> None:
    outcome = LineReader().read(json.dumps(fields), REFERENCE)
    if isinstance(outcome, Event):
        assert msgspec.json.decode(msgspec.json.encode(outcome), type=Event) == outcome


def test_parse_reads_them_all_from_a_gz_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mail.log.gz"
    lines = [line.rstrip("\r") for line in LINES.values()]
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + "\r\n".join(lines).encode()))
    result = CliRunner().invoke(parse, [str(path), "--year", "2026"], catch_exceptions=False)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["account"] for event in found] == [USER] * len(LINES)
