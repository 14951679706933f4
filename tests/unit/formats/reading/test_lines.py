"""A line's outcome depends on the line and the reference, not on what its reader saw before."""

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pipeline.formats.reading.lines import LineReader
from schemas.event import Event
from tests.support.formats import FILES, REFERENCE

LINES = sorted({line for blocks in FILES.values() for line, _, _ in blocks})
STAMPS = ["Nov 24 01:50:43", "Nov  4 01:50:43", "2026-11-24T01:50:43+00:00", "2026-11-24T01:50:43.123456+00:00",
          "2026-11-24 01:50:43", "2026-W48-2T01:50:43", "2026-11-24", "20261124T015043"]  # fmt: skip
HOSTS = ["", "mx", "\tmx", "\u00a0mx", "\u2003mx", " mx", "01:50:43", "mx:", "m(x", "sogod", "x" * 190]
TAGS = ["postfix/smtpd", "sogod", "dovecot", "imap-login", "master", "pam", "courierpop3login", "exim", ""]
PIDS = ["", "[12]", "[12", "[x y]", " [12]", " [x]", "[]", "[12] more", "[1][2]"]
FAILED = ": warning: unknown[192.0.2.7]: SASL LOGIN authentication failed: UGFzc3dvcmQ6"
TEXTS = [": connect from unknown[192.0.2.7]", ": ", ":", "", ": Info: x: y", FAILED]
MADE = st.builds(
    lambda stamp, host, tag, pid, text: f"{stamp} {host} {tag}{pid}{text}" if host else f"{stamp} {tag}{pid}{text}",
    *map(st.sampled_from, (STAMPS, HOSTS, TAGS, PIDS, TEXTS)),
)


@st.composite
def cut_or_changed(draw: st.DrawFn) -> str:
    """A line of the examples, cut off or with one character more somewhere."""
    line = draw(st.sampled_from(LINES))
    at = draw(st.integers(0, min(len(line), 80)))
    if draw(st.booleans()):
        return line[:at]
    return line[:at] + draw(st.sampled_from(["\t", "\u00a0", " ", "[", "]", ":", ": ", "(", "<", "9"])) + line[at:]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.one_of(MADE, cut_or_changed(), st.sampled_from(LINES)), min_size=2, max_size=12),
    st.sampled_from([{}, {"mx": ZoneInfo("Asia/Tokyo")}]),
)
@example(["Nov 24 01:50:47 mx07 postfix/discard[19]: x", "Nov 24 01:50:47 mx07 postfix/discard[19"], {})
@example([f"Nov 24 01:50:43 {host} postfix/smtpd[1]: connect from a[192.0.2.7]" for host in ("\tmx", "mx")], {})
@example([f"Nov 24 01:50:43 sogod {pid}: x" for pid in ("[12]", "[x y]")], {})
def test_a_warm_reader_reads_as_fresh_ones(lines: list[str], zones: dict[str, ZoneInfo]) -> None:
    warm = LineReader(UTC, zones)
    fresh = [LineReader(UTC, zones).read(line, REFERENCE) for line in lines]
    assert warm.read_lines(lines, REFERENCE) == fresh
    assert warm.read_lines(lines[::-1], REFERENCE) == fresh[::-1]


@pytest.mark.parametrize("host", ["\tmx", "\u00a0mx", "\u2003mx"])
def test_another_hosts_name_stays_its_own(host: str) -> None:
    reader = LineReader()
    line = "Nov 24 01:50:43 {} postfix/smtpd[1]: connect from unknown[192.0.2.7]"
    read = [reader.read(line.format(each), REFERENCE) for each in (host, "mx", host, "mx")]
    assert [each.host for each in read if isinstance(each, Event)] == [host, "mx", host, "mx"]


@given(st.integers(0, 999_999), st.sampled_from(LINES))
def test_a_line_that_stands_for_many_counts_as_many(times: int, line: str) -> None:
    """``message repeated N times``, as rsyslog folds equal lines, right after the header and nowhere else."""
    before, colon, text = line.partition(": ")
    assume(colon and not line.startswith(("{", "[", "<1")) and not text.startswith("message repeated "))
    read = LineReader().read(line, REFERENCE)
    folded = LineReader().read(f"{before}: message repeated {times} times: [ {text}]", REFERENCE)
    if isinstance(read, Event):
        read.count *= times
    assert folded == read
    inside = "Nov 24 01:50:43 mx dovecot: imap-login: x: message repeated {} times: [ {}]"
    one = LineReader().read(inside.format(1, text), REFERENCE)
    assert LineReader().read(inside.format(times, text), REFERENCE) == one
