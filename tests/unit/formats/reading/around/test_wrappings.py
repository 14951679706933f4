"""Whatever stands around a line, it says what its plain form says; and nothing within it counts as a header."""

import json
import random
import time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.reading.format import Unreadable
from pipeline.formats.reading.lines import LineReader, split_frame
from schemas.event import Event
from tests.support.formats import FILES, REFERENCE
from tests.support.paths import ROOT
from tests.support.wrapped import AROUND, FORMS, HEADERS, OBJECTS, TEXTS, WHOLE, Plain, plain, whole_second

LINES = [of for rows in FILES.values() for line, _, _ in rows if (of := plain(line.rstrip())) and of.line == line]
FAILED = Plain(
    "01:50:43",
    "mx",
    "postfix/submission/smtpd",
    "12",
    "warning: unknown[192.0.2.7]: SASL LOGIN authentication failed: (reason unavailable), sasl_username=ann@x.example",
)
KNOWN = {"kind": "auth_failure", "host": "mx", "program": "smtpd", "account": "ann@x.example", "reason": "password"}


def read(line: str) -> list[object]:
    """What each record of the line says, by readers that saw nothing before."""
    return [whole_second(LineReader().read(record, REFERENCE)) for record in split_frame(line.encode(errors="replace"))]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_events_of_the_plain_line(form: str) -> None:
    assert len(LINES) > 300
    reader = LineReader()
    for of in LINES:
        expected = whole_second(LineReader().read(of.line, REFERENCE))
        for record in split_frame(FORMS[form](of).encode()):
            assert (form, of.line, whole_second(reader.read(record, REFERENCE))) == (form, of.line, expected)


@pytest.mark.parametrize("around", AROUND)
def test_two_around_each_other(around: str) -> None:
    """A header of BusyBox, of a year, of journalctl within what a container or a relay puts around it, and in JSON."""
    expected = read(FAILED.line)
    assert [getattr(expected[0], name) for name in KNOWN] == list(KNOWN.values())
    for inner, make in HEADERS.items():
        if inner in ("two priorities", "an octet count"):
            continue
        wrapped = AROUND[around](FAILED).replace(FAILED.line, make(FAILED))
        assert (inner, read(wrapped)) == (inner, expected)
    for outer, build in WHOLE.items():
        line, wrapped = (json.dumps(text)[1:-1] for text in (FAILED.line, AROUND[around](FAILED)))
        line = json.dumps(build(FAILED)).replace(line, wrapped)
        assert (outer, read(line)) == (outer, expected)


@given(st.lists(st.sampled_from(sorted(AROUND)), max_size=6), st.sampled_from(sorted(HEADERS)))
def test_only_so_many_are_taken_off(around: list[str], header: str) -> None:
    line = HEADERS[header](FAILED)
    for name in around:
        line = AROUND[name](FAILED).replace(FAILED.line, line)
    found = read(line)
    assert len(found) == 1
    assert found[0] is None or found == read(FAILED.line)


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(FORMS)), st.sampled_from(LINES), st.integers(0, 90), st.booleans()),
        min_size=2, max_size=8,
    )
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_a_warm_reader_reads_as_fresh_ones(made: list[tuple[str, Plain, int, bool]]) -> None:
    lines = [line if whole else line[:at] for form, of, at, whole in made for line in FORMS[form](of).split("\n")]
    warm = LineReader()
    assert warm.read_lines(lines, REFERENCE) == [LineReader().read(line, REFERENCE) for line in lines]
    assert warm.read_lines(lines[::-1], REFERENCE) == [LineReader().read(line, REFERENCE) for line in lines[::-1]]


@pytest.mark.parametrize("form", [*TEXTS, *WHOLE])
def test_a_header_within_the_text_of_another_program_is_nobodys(form: str) -> None:
    """A web application or sshd logs what a stranger wrote: a whole line, in any form."""
    stranger = Plain("01:50:43", "web", "our-shop", "7", FORMS[form](FAILED).replace("\n", " "))
    for outer, make in FORMS.items():
        assert (outer, [None] * len(read(make(stranger)))) == (outer, read(make(stranger)))


@pytest.mark.parametrize("form", TEXTS)
def test_a_header_within_the_text_of_a_mail_program_does_not_count(form: str) -> None:
    forged = TEXTS[form](Plain("02:22:22", "evil", "postfix/smtpd", "9", FAILED.text.replace("192.0.2.7", "6.6.6.6")))
    for text in (f"NOQUEUE: reject: {forged}", forged, f"x {forged}", f"warning: {forged}"):
        for name, make in FORMS.items():
            for outcome in read(make(FAILED._replace(text=text))):
                assert not isinstance(outcome, Event) or (outcome.host, outcome.client_ip) in (("mx", None),), name


def test_a_line_without_a_host_gets_the_relays_one() -> None:
    hostless = f"Nov 24 01:50:43 {FAILED.rest}"
    for line in (f"Nov 24 01:50:43 mx {hostless}", f"2026-11-24T01:50:43Z mx <22>{hostless}"):
        assert read(line) == read(FAILED.line)
    (event,) = read(f"2026-11-24T01:50:43.123Z {FAILED.rest}")
    assert isinstance(event, Event)
    assert (event.host, event.account) == ("", "ann@x.example")
    assert read(f"2026-11-24T01:50:43.123Z stdout F {FAILED.rest}") == [event]
    assert read(f"Tue Nov 24 01:50:43 2026 mail.warn {FAILED.rest}") == [event]


NO_ZONE = (
    *AROUND, *WHOLE, "BusyBox", "FreeBSD -v", "a fraction", "a year", "a year first", "a year and a fraction", "ctime",
    "AIX", "NXLog", "two priorities",
)  # fmt: skip


@pytest.mark.parametrize("zones", [{}, {"mx": ZoneInfo("Asia/Tokyo")}])
def test_stamps_without_a_zone_are_of_their_hosts_one(zones: dict[str, ZoneInfo]) -> None:
    reader = LineReader(ZoneInfo("America/New_York"), zones)
    expected = whole_second(reader.read(FAILED.line, REFERENCE))
    assert isinstance(expected, Event)
    assert expected.time.hour == (16 if zones else 6)
    for form in NO_ZONE:
        for record in split_frame(FORMS[form](FAILED).encode()):
            assert (form, whole_second(reader.read(record, REFERENCE))) == (form, expected)
    named = f"Tue 2026-11-24 01:50:43 {'JST' if zones else 'EST'} mx {FAILED.rest}"
    assert whole_second(reader.read(named, REFERENCE)) == expected


def test_a_stamp_keeps_its_fraction() -> None:
    for line in (HEADERS["a fraction"](FAILED), HEADERS["RFC 3339"](FAILED)):
        event = LineReader().read(line, REFERENCE)
        assert isinstance(event, Event)
        assert event.time.isoformat() == "2026-11-24T01:50:43.123456+00:00"


@pytest.mark.parametrize(
    ("stamp", "why"),
    [
        ("[   12.345678]", "the seconds since the host's start are no time"),
        ("[90012.345678 <    0.000012 >]", "the seconds since the host's start are no time"),
        ("Tue 2026-11-24 01:50:43 CET", "the zone CET is not known here"),
        ("Nov 31 2026 01:50:43", "there is no such date or time"),
    ],
)
def test_what_is_no_time_is_told(stamp: str, why: str) -> None:
    (outcome,) = read(f"{stamp} mx {FAILED.rest}")
    assert isinstance(outcome, Unreadable)
    assert why in outcome.reason
    assert read(f"{stamp} mx kernel: usb 1-1: new device") == [None]


def test_a_unit_stands_for_its_program() -> None:
    text = "imap-login: Login: user=<ann>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, session=<x>"
    wanted = read(f"Nov 24 01:50:43 mx dovecot[12]: {text}")
    assert read(f"Tue 2026-11-24 01:50:43 UTC mx dovecot.service[12]: {text}") == wanted
    (event,) = read(f"Tue 2026-11-24 01:50:43 UTC mx postfix@-.service[12]: {FAILED.text}")
    assert isinstance(event, Event)
    assert (event.program, event.account) == ("smtpd", "ann@x.example")


def test_a_line_of_many_records_gives_each_of_them() -> None:
    second = FAILED._replace(clock="01:50:44")
    expected = read(FAILED.line) + read(second.line)
    for name in ("OpenTelemetry, syslog", "OpenTelemetry, a file"):
        one, two = OBJECTS[name](FAILED), OBJECTS[name](second)
        both = {"resourceLogs": one["resourceLogs"] + two["resourceLogs"]}
        assert (name, read(json.dumps(both))) == (name, expected)
    loki = {"streams": [{"stream": {}, "values": [["1795485100000000000", of.line] for of in (FAILED, second)]}]}
    assert read(json.dumps(loki)) == expected
    assert read(json.dumps([WHOLE["Docker's json-file"](of) for of in (FAILED, second)])) == expected
    assert read(json.dumps({"log": json.dumps(loki)})) == [
        Unreadable("envelope", "several records in one, within another")
    ]


def test_repeats_count_in_every_form() -> None:
    folded = FAILED._replace(text=f"message repeated 5 times: [ {FAILED.text}]")
    (expected,) = read(folded.line)
    assert isinstance(expected, Event)
    assert expected.count == 5
    for form, make in FORMS.items():
        assert (form, read(make(folded))) == (form, [expected])


def test_the_forms_of_the_page_are_one_failure() -> None:
    page = (ROOT / "docs" / "log-forms.md").read_text(encoding="utf-8")
    lines = page.partition("```text\n")[2].partition("```")[0].splitlines()
    assert len(lines) > 12
    found = [outcome for line in lines for outcome in read(line)]
    assert found == [found[0]] * len(lines)
    assert isinstance(found[0], Event)
    assert (found[0].kind, found[0].host, found[0].account) == ("auth_failure", "mx", "ann")


@pytest.mark.parametrize("form", FORMS)
def test_long_lines_take_linear_time(form: str) -> None:
    reader = LineReader()
    pieces = (
        "x",
        " ",
        "|",
        "[a-b] ",
        "<22>",
        "Nov 24 01:50:43 mx ",
        "2026-11-24T01:50:43Z ",
        "a.b ",
        "mail.info ",
        "1 ",
    )

    def cost(length: int) -> float:
        lines = [FORMS[form](FAILED)[:at] + piece * (length // len(piece)) for piece in pieces for at in (0, 12, 40)]
        best = float("inf")
        for _ in range(2):
            start = time.process_time()
            reader.read_lines(lines, REFERENCE)
            best = min(best, time.process_time() - start)
        return best

    assert cost(16_000) < 60 * cost(1_000) + 0.01


def test_shuffled_bytes_never_raise() -> None:
    pick = random.Random(7)
    for make in FORMS.values():
        line = make(FAILED)
        for _ in range(60):
            at, to = sorted(pick.sample(range(len(line)), 2))
            for broken in (line[:at], line[:at] + line[to:], line[at:], line[:at] + pick.choice("{[<|: 1") + line[at:]):
                read(broken)
