"""Lines that look like mail log: all that mail programs write, and little else; and how they are counted."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.reading.around.missed import (
    _MAIL,
    LONGEST,
    MOST,
    OTHERS,
    Missed,
    MissedLines,
    looks_like_mail,
    shown,
)
from pipeline.formats.reading.lines import LineReader
from pipeline.networks import OurHosts
from pipeline.normalize.normalizer import Normalizer, Sender
from tests.support.formats import FILES, REFERENCE
from tests.support.wrapped import plain

FAILED = "warning: unknown[192.0.2.7]: SASL LOGIN authentication failed: UGFzc3dvcmQ6"
MISSED = {
    f"24.11. 1:50 Uhr mx postfix/smtpd[12]: {FAILED}": ("", "stamp"),
    f"Nov 24 01:50:43 mx (mail) postfix/smtpd[12]: {FAILED}": ("", "stamp"),
    f"<22> mx postfix/smtpd[12]: {FAILED}": ("", "priority"),
    f"[mail] mx postfix/smtpd[12]: {FAILED}": ("", "bracket"),
    f"postfix/smtpd[12]: {FAILED}": ("", "text"),
    f'{{"what": "{FAILED}"}}': ("", "json"),
    "MESSAGE=imap-login: Login: user=<ann>, method=PLAIN, rip=192.0.2.7": ("", "text"),
    f"Nov 24 01:50:43 mx our-postfix[12]: {FAILED}": ("mx", "header"),
    "Nov 24 01:50:43 mx our-filter[12]: 4F1: to=<a@b>, relay=x, status=sent (250 ok)": ("mx", "header"),
}
OTHERS_LINES = (
    "Nov 24 01:50:43 mx sshd[12]: Failed password for invalid user postfix from 192.0.2.7 port 22 ssh2",
    "Nov 24 01:50:43 mx sshd[12]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= "
    "rhost=192.0.2.7  user=root",
    "Nov 24 01:50:43 mx systemd[1]: Started Postfix Mail Transport Agent (instance -).",
    "Nov 24 01:50:43 mx systemd[1]: dovecot.service: Deactivated successfully.",
    "Nov 24 01:50:43 mx CRON[12]: (root) CMD (/usr/sbin/sendmail -q)",
    "Nov 24 01:50:43 mx kernel: [12.3] audit: type=1400 profile=\"/usr/lib/dovecot/anvil\" comm=\"anvil\"",
    "Nov 24 01:50:43 mx dhclient[12]: DHCPREQUEST for 192.0.2.7 on eth0 to 192.0.2.1 port 67",
    "Nov 24 01:50:43 mx named[12]: client @0x7f 192.0.2.7#1 (mail.example): query: mail.example IN MX",
    "2026/11/24 01:50:43 [error] 12#12: *1 open() \"/mail\" failed, client: 192.0.2.7, server: x, request: \"GET /\"",
    "-- MARK --",
    "",
)  # fmt: skip


@pytest.mark.parametrize("line", MISSED)
def test_lines_that_look_like_mail_are_told_by_host_and_form(line: str) -> None:
    reader = LineReader()
    assert reader.read(line, REFERENCE) is None
    assert looks_like_mail(line)
    assert reader.form_of(line, REFERENCE) == MISSED[line]


@pytest.mark.parametrize("line", OTHERS_LINES)
def test_what_others_write_does_not(line: str) -> None:
    assert LineReader().read(line, REFERENCE) is None
    assert not looks_like_mail(line)


def test_most_lines_that_count_look_like_mail() -> None:
    """The examples behind a header that nobody knows: those of the formats that most people have, nearly all."""
    for name, least in (("postfix_smtpd", 0.95), ("dovecot_login", 0.95), ("postfix_delivery", 0.9), ("courier", 0.3)):
        found = [of for line, expected, hostile in FILES[name] if not hostile and (of := plain(line))]
        seen = [looks_like_mail(f"24.11. 1:50 {of.host} {of.rest}") for of in found]
        assert sum(seen) >= least * len(seen), name


def test_the_quick_look_misses_nothing() -> None:
    for rows in FILES.values():
        for line, _, _ in rows:
            assert looks_like_mail(line) == (_MAIL.search(line) is not None), line


def test_the_normaliser_says_what_it_missed() -> None:
    lines = [*MISSED, *OTHERS_LINES[:-1], f"Nov 24 01:50:43 mx postfix/smtpd[12]: {FAILED}"]
    normalizer = Normalizer(OurHosts(), UTC)
    batch = normalizer.normalize("\n".join(lines * 2).encode(), REFERENCE, "maillog-0", 1, sender=Sender("mx7"))
    expected: dict[tuple[str, str], tuple[int, str]] = {}
    for line, (host, form) in MISSED.items():
        count, first = expected.get((host or "mx7", form), (0, line))
        expected[host or "mx7", form] = count + 2, first
    assert [(missed.host, missed.form) for missed in batch.missed] == list(expected)
    assert {(m.host, m.form): (m.lines, m.first) for m in batch.missed} == expected
    assert batch.ignored == 2 * (len(MISSED) + len(OTHERS_LINES) - 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40), st.integers(1, 5), st.text(max_size=3))))
def test_pairs_are_bounded_and_no_line_is_lost(found: list[tuple[str, int, int, str]]) -> None:
    """Against a plain dictionary of the first ones."""
    missed, model = MissedLines(), dict[tuple[str, str], list[int | str]]()
    for host, form, count, first in found:
        pair = (host, str(form))
        if pair not in model and len(model) >= MOST:
            pair = OTHERS
        assert missed.add(host, str(form), count, first) == pair
        model.setdefault(pair, [0, first])[0] += count  # type: ignore[operator]  # the first of the two is a number
    assert missed.all() == [Missed(*pair, *told) for pair, told in model.items()]  # type: ignore[arg-type]
    assert len(missed) <= MOST + 1


@given(st.text(max_size=2 * LONGEST))
def test_what_is_shown_is_one_short_line_of_plain_characters(line: str) -> None:
    text = shown(line)
    assert text.isascii()
    assert text.isprintable() or not text
    assert len(text) <= LONGEST + 3
    if len(line) <= 10:
        assert text.encode("ascii").decode("unicode_escape") == line
