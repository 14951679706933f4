"""Which format has a line: by tag, by instance, by first character, by JSON object."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from pipeline.formats.reading.format import Claim, Format, Outcome, Reader, Role
from pipeline.formats.reading.lines import LineReader
from pipeline.formats.reading.routes import Routes
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event

NOW = datetime(2026, 11, 24, 1, 50, 43, tzinfo=UTC)
REFERENCE = 1_796_083_200.0  # 2026-12-01


def says(name: str, only: str = "") -> Reader:
    """A reader that says its name, of lines that begin with ``only``."""

    def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
        return Event("other", time, host, program, reason=name) if first.startswith(only) else None

    return read


def bare(line: str, stamps: Stamps) -> Outcome:
    return Event("other", NOW, "", "bare") if line.startswith("[x]") else None


def an_object(fields: Mapping[str, object], stamps: Stamps) -> Outcome:
    return Event("other", NOW, "", "object") if "mine" in fields else None


def instance(words: list[str]) -> Claim | None:
    return (says("family"), words[1] if len(words) > 2 else None) if words[0].startswith("family") else None


PROCESSES = frozenset(("worker", "imapd"))
ROUTES = Routes(
    (
        Format("one", Role.ACCESS, {"imapd": says("one", "LOGIN")}),
        Format("two", Role.ACCESS, {"imapd": says("two"), "cyrus/": says("cyrus")}, bare=(("[x", bare),)),
        Format("inner", Role.ACCESS, {"never": says("inner")}, within="two"),
        Format("json", Role.WEBMAIL, {}, objects=an_object),
        Format("family", Role.MTA, {}, instances=("family", instance)),
        Format("three", Role.ACCESS, {}, own_log=(PROCESSES, says("own", "Info")), renamed=says("renamed", "Login")),
    )
)


@pytest.mark.parametrize(
    ("tag", "first", "expected"),
    [
        ("imapd", "LOGIN", ("one", "imapd")),
        ("imapd", "other", ("two", "imapd")),
        ("site-a/imapd", "other", ("two", "imapd")),
        ("cyrus/lmtp", "x", ("cyrus", "lmtp")),
        ("family-out/imapd", "x", ("family", "imapd")),
        ("never", "x", None),
        ("kernel", "x", None),
        ("other", "Login", ("renamed", "other")),
    ],
)
def test_a_tag_decides(tag: str, first: str, expected: tuple[str, str] | None) -> None:
    route = ROUTES.tagged("mx", tag)
    assert route is not None
    outcome = route.reader(NOW, route.host, route.program, route.service, first, "")
    assert (None if outcome is None else (outcome.reason, outcome.program)) == expected  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("tag", "pool"),
    [
        ("postfix/smtp", None),
        ("postfix/smtp/smtp", None),
        ("postfix/relay/smtp", None),
        ("postfix/slow/smtp", "slow"),
        ("postfix-slow/smtp", "slow"),
        ("postfix-out/slow/smtp", "slow"),
        ("postfix/a/SLOW_2/smtp", "slow_2"),
        ("postfix/slow/lmtp", None),
        ("postfix/slow/qmgr", None),
        ("postfixslow/smtp", None),
        ("mail-out/smtp", None),
        (f"postfix/{'x' * 64}/smtp", "x" * 64),
        (f"postfix/{'x' * 65}/smtp", None),
        ("postfix//smtp", None),
        ("postfix/sl.ow/smtp", None),
        ("postfix/\uff53low/smtp", None),
        ("postfix/slow\u0130/smtp", None),
    ],
)
def test_a_tag_tells_the_pool(tag: str, pool: str | None) -> None:
    line = (
        f"Nov 24 01:50:43 mx {tag}[12]: A0DED23C18C: to=<x@dest.example>, relay=a[192.0.2.1]:25, delay=1, "
        "delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)"
    )
    reader = LineReader()
    for _ in range(2):
        outcome = reader.read(line, REFERENCE)
        assert isinstance(outcome, Event)
        assert outcome.pool == pool


@pytest.mark.parametrize("tag", ["", "two words", "a/b", "kernel/x"])
def test_what_is_no_tag_has_no_route(tag: str) -> None:
    assert ROUTES.tagged("mx", tag) is None


def test_without_a_host_only_known_tags_count() -> None:
    assert ROUTES.tagged("", "kernel") is None
    assert ROUTES.tagged("", "imapd") is not None


def test_an_instance_is_told_by_its_tag() -> None:
    for tag, service in (("family/a/smtpd", "a"), ("family/smtpd", None)):
        route = ROUTES.tagged("mx", tag)
        assert route is not None
        assert (route.program, route.service, route.role) == ("smtpd", service, Role.MTA)


def test_a_log_of_its_own_names_no_host() -> None:
    for tag, first, expected in (
        ("worker(bob smith)", "Info", "own"), ("imapd", "Info", "own"), ("imapd", "LOGIN", "one"),
    ):  # fmt: skip
        route = ROUTES.tagged("", tag)
        assert route is not None
        outcome = route.reader(NOW, "", tag, None, first, "")
        assert isinstance(outcome, Event)
        assert outcome.reason == expected


def test_lines_and_objects_without_a_header() -> None:
    stamps = Stamps()
    assert isinstance(ROUTES.bare("[x] y", stamps), Event)
    assert ROUTES.bare("[y] y", stamps) is None
    assert ROUTES.bare("", stamps) is None
    assert isinstance(ROUTES.object({"mine": 1}, stamps), Event)
    assert ROUTES.object({"yours": 1}, stamps) is None


@pytest.mark.parametrize(
    "line",
    [
        "Nov 24 01:50:43 postfix/submission/smtpd[12]: connect from unknown[192.0.2.1]",
        "2026-11-24T01:50:43Z postfix/submission/smtpd[12]: connect from unknown[192.0.2.1]",
        "<22>Nov 24 01:50:43 postfix-out/submission/smtpd[12]: connect from unknown[192.0.2.1]",
    ],
)
def test_a_line_without_a_host(line: str) -> None:
    reader = LineReader()
    for _ in range(2):
        outcome = reader.read(line, REFERENCE)
        assert isinstance(outcome, Event)
        assert (outcome.host, outcome.service, outcome.client_ip) == ("", "submission", "192.0.2.1")


def test_without_a_host_dovecot_is_read_by_its_tag_or_its_process() -> None:
    text = "Aborted login (auth failed, 1 attempts in 2 secs): user=<a>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.2"
    for tag in ("dovecot: imap-login:", "imap-login: Info:"):
        outcome = LineReader().read(f"Nov 24 01:50:43 {tag} {text}", REFERENCE)
        assert isinstance(outcome, Event)
        assert (outcome.host, outcome.program, outcome.account) == ("", "imap-login", "a")
