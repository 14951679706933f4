"""One wrong password that a front end logs, and the one that it asked: counted once, in one file and as shipped.

The pairs are computed from FORMATS, their lines are the examples of the formats, as of one host, account and address.
"""

import re
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from pipeline.formats.reading.format import Role
from pipeline.formats.reading.lines import LineReader
from pipeline.formats.reading.programs import ROLES, SMTP_AUTH
from pipeline.formats.reading.topic import topic_of
from pipeline.networks import OurHosts
from pipeline.normalize.attempts.bursts import SIDES, NetworkFailures
from pipeline.normalize.generations import Dumped
from pipeline.normalize.normalizer import Normalizer
from schemas.event import Event
from schemas.kinds import PASSWORD_ERRORS
from schemas.tally import Tally
from tests.support.formats import FILES, REFERENCE

ACCOUNT, ADDRESS = "victim@x.example", "192.0.2.77"
SINCE = datetime(2026, 11, 24, 1, 50, tzinfo=UTC)
FRONT, BACK = (Role.MTA, Role.ACCESS, Role.WEBMAIL), (Role.ASKED, Role.SASL)


def failure(line: str) -> Event | None:
    outcome = LineReader().read(line, REFERENCE)
    wrong = isinstance(outcome, Event) and outcome.kind == "auth_failure" and outcome.reason in PASSWORD_ERRORS
    return outcome if isinstance(outcome, Event) and wrong else None


def of_victim(line: str) -> tuple[str, Event] | None:
    """The line as if it spoke of one account, address, time and host; ``None`` if it is no failure."""
    event = failure(line)
    if event is None or event.account is None:
        return None
    written = next((name for name in (event.account, event.account.capitalize()) if name in line), "")
    if not written:
        return None
    line = line.replace(written, ACCOUNT)
    if event.client_ip:
        line = line.replace(event.client_ip, ADDRESS)
    if line.startswith("Nov 24 "):
        line = f"Nov 24 01:50:43 {line[16:]}".replace(f"43 {event.host} ", "43 mx ", 1)
    for stamp, same in (
        (r"(?<!\d)\d\d:\d\d:\d\d", "01:50:43"),
        (r"\b\d\d-[A-Z][a-z]{2}-\d{4}\b", "24-Nov-2026"),
        (r" [+-]\d{4}\]", " +0000]"),
    ):
        line = re.sub(stamp, same, line, count=1)
    made = failure(line)
    if made is None or made.account != ACCOUNT:
        return None
    assert abs(made.time - SINCE) < timedelta(minutes=1), line
    return line, made


def told_by(roles: tuple[Role, ...], with_address: bool) -> dict[str, tuple[str, Event]]:
    """Of each format, program and entrance one line."""
    found: dict[str, tuple[str, Event]] = {}
    for name, rows in FILES.items():
        for line, _, hostile in rows:
            made = None if hostile else of_victim(line)
            if made is None:
                continue
            event = made[1]
            if ROLES[event.program] in roles and (event.client_ip is not None or not with_address):
                found.setdefault(f"{name}:{event.program}:{event.service}:{event.session is None}", made)
    return found


FRONTS, BACKS = told_by(FRONT, with_address=True), told_by(BACK, with_address=False)
PAIRS = [pytest.param(*FRONTS[f], *BACKS[b], id=f"{f}-{b}") for f, b in product(FRONTS, BACKS)]


def entrance(event: Event) -> str:
    if ROLES[event.program] is Role.MTA or event.service in SMTP_AUTH:
        return "smtp"
    return "webmail" if event.service == "webmail" else "access"


def one_failure(front: Event, back: Event) -> bool:
    """Whether the lines of both speak of the same wrong password."""
    if ROLES[front.program] is Role.MTA and back.service in SMTP_AUTH:
        return True  # counted apart, and the larger one counts
    unnamed = back.service is None and back.session is None
    echo = ROLES[back.program] is Role.ASKED or unnamed
    return echo and front.host == back.host and entrance(front) == entrance(back)


def normalizer_of_a_guesser() -> Normalizer:
    """The address has failed at many accounts, so that each failure counts, and none is the mistake of a person."""
    normalizer = Normalizer(OurHosts())
    state = normalizer.attempts.dump()
    known = NetworkFailures(SINCE.timestamp(), ["a", "b", "c"])
    networks: Dumped[NetworkFailures] = [[((ADDRESS, where), known) for where in SIDES], []]
    state.bursts = (state.bursts[0], networks)
    normalizer.attempts.load(state)
    return normalizer


def errors(*files: list[str]) -> dict[tuple[str, str], int]:
    """Password errors of each subject, as rules see them, of files or topics that are read apart."""
    found: dict[tuple[str, str], list[Tally]] = {}
    for lines in files:
        normalizer = normalizer_of_a_guesser()
        batch = normalizer.normalize("\n".join(lines).encode(), REFERENCE, "pair", 0)
        rest = normalizer.finish()
        assert len(batch.events) + len(rest.events) == len(lines)
        for tally in batch.tallies + rest.tallies:
            if tally.kind != "country":
                found.setdefault((tally.kind, tally.subject), []).append(tally)
    return {
        subject: sum(t.errors for t in tallies)
        + max(sum(t.errors_mta for t in tallies), sum(t.errors_sasl for t in tallies))
        for subject, tallies in found.items()
    }


@pytest.mark.parametrize(("front_line", "front", "back_line", "back"), PAIRS)
def test_a_pair_counts_in_the_topics_what_it_counts_in_one_file(
    front_line: str, front: Event, back_line: str, back: Event
) -> None:
    lines = [front_line, back_line, front_line, back_line]
    topics: dict[str, list[str]] = {}
    for line in lines:
        topics.setdefault(topic_of(line.encode()), []).append(line)
    in_one_file = errors(lines)
    assert errors(*topics.values()) == in_one_file
    alone = errors([front_line, front_line])["account", ACCOUNT]
    asked = 0 if one_failure(front, back) else errors([back_line, back_line])["account", ACCOUNT]
    assert in_one_file["account", ACCOUNT] == alone + asked


def test_the_pairs_are_many_and_of_all_kinds() -> None:
    programs = {event.program for _, event in FRONTS.values()}
    assert programs >= {"smtpd", "exim", "sm-mta", "qmail-smtpd", "smtp_auth", "imapd", "ipop3d", "imap", "imap-login",
                        "perdition", "solid-pop3d", "nginx", "mailboxd"}  # fmt: skip
    assert {event.program for _, event in BACKS.values()} >= {"saslauthd", "authdaemond", "auth", "vpopmail"}
    same = [param for param in PAIRS if one_failure(param.values[1], param.values[3])]  # type: ignore[arg-type]
    assert len(same) > 40
    assert any(len({topic_of(str(p.values[n]).encode()) for n in (0, 2)}) == 2 for p in same)
