"""One try of one client is one attempt, whoever speaks of it, and however its lines fall into frames."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.normalize.attempts.attempts import Attempts, AttemptState
from schemas.event import Event
from schemas.kinds import AuthReason, EventKind

START = datetime(2026, 11, 24, 10, tzinfo=UTC)
Line = tuple[float, Event]


def event(kind: EventKind, at: float, program: str, **more: object) -> Event:
    fields: dict[str, object] = {"account": "ann", "client_ip": "192.0.2.7", "network": "192.0.2.7"} | more
    made = Event(kind, START + timedelta(seconds=at), str(fields.pop("host", "mx")), program)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def refusal(at: float, session: str | None = "s", reason: AuthReason = "password", **more: object) -> Event:
    """Of a password store."""
    return event("auth_failure", at, "auth", session=session, reason=reason, **more)


def login(at: float, session: str = "s", **more: object) -> Event:
    return event("auth_success", at, "imap-login", session=session, service="imap", **more)


def failed(at: float, attempts: int, session: str = "s", **more: object) -> Event:
    return event(
        "auth_failure", at, "imap-login", session=session, service="imap", count=attempts, reason="password", **more
    )


def passing(at: float, **more: object) -> Event:
    return event("connect", at, "imap-login", **more)


def run(events: list[Event], cuts: list[int] | None = None) -> list[Event]:
    """What is settled, in frames that end at ``cuts``; each with the state of the one before, as it was saved."""
    attempts, settled = Attempts(), []
    edges = [0, *sorted(cuts or []), len(events)]
    for start, end in pairwise(edges):
        frame = events[start:end]
        found = attempts.settle(frame, [(e, e.program) for e in frame if e.kind != "connect"])
        assert {id(e) for e, _ in found.counted} <= {id(e) for e in found.events}
        settled += found.events
        saved = msgspec.msgpack.encode(attempts.dump())
        attempts = Attempts()
        attempts.load(msgspec.msgpack.decode(saved, type=AttemptState))
    return settled + attempts.finish().events


def count(events: list[Event], cuts: list[int] | None = None) -> int:
    errors = ("password", "unknown_user", "unknown")
    return sum(e.count for e in run(events, cuts) if e.kind == "auth_failure" and e.reason in errors)


def test_a_store_that_says_no_before_another_says_yes_is_no_failure() -> None:
    assert count([refusal(0, reason="unknown_user"), refusal(0.5), login(1)]) == 0
    assert count([refusal(0, reason="unknown_user"), refusal(0.5), login(1, session="other")]) == 1


def test_one_try_at_three_stores_is_one() -> None:
    stores = [refusal(0, reason="unknown_user"), refusal(0.5), refusal(1)]
    assert count(stores) == 1
    assert count([*stores, failed(2, 1)]) == 1
    assert count([*stores, failed(2, 3)]) == 1, "three tries within ten seconds: one mistake"
    far = [refusal(100, reason="unknown_user"), refusal(100.5)]
    assert count([*stores, *far, failed(102, 2)]) == 2


def test_the_session_counts_what_no_store_told() -> None:
    assert count([refusal(0), failed(20, 9)]) == 9
    assert count([failed(20, 9)]) == 9
    assert count([refusal(0), refusal(20), failed(21, 2)]) == 2


def test_a_store_without_a_session_speaks_of_account_and_address() -> None:
    asked = refusal(0, None, service="smtp")
    client = event("connect", 1, "smtpd", service="submission", queue_id="A", method="PLAIN")
    assert count([asked, client]) == 0
    asked = refusal(0, None, service="smtp")
    unnamed = event("submission", 1, "qmgr", service="webmail", queue_id="A")
    assert count([asked, unnamed]) == 1, "who did not log in: the sender of a webmail's host, say"
    asked = refusal(0, None, service="smtp", client_ip="198.51.100.1", network="198.51.100.1")
    assert count([asked, client]) == 1, "somebody else, at the same time"
    pam = event("auth_failure", 0, "saslauthd", service="imap", reason="password", client_ip=None, network=None)
    assert count([pam, login(1)]) == 0, "one stack of PAM said no, the next one yes"


def test_a_front_end_tells_what_its_store_told_before() -> None:
    pam = event("auth_failure", 0, "saslauthd", service="imap", reason="password", client_ip=None, network=None)
    cyrus = event("auth_failure", 1, "imap", service="imap", reason="password")
    settled = run([pam, cyrus])
    assert [(e.program, e.count) for e in settled] == [("saslauthd", 0), ("imap", 1)]


def test_what_is_held_is_in_no_frame_and_comes_with_the_line_that_settles_it() -> None:
    attempts = Attempts()
    one = refusal(0)
    assert attempts.settle([one], [(one, "line")]) == ([], [])
    early, late = passing(2.9), passing(3)
    assert attempts.settle([early], []) == ([early], [])
    assert attempts.settle([late], []) == ([one, late], [(one, "line")])
    assert one.count == 1


def test_the_clock_of_another_host_settles_nothing() -> None:
    attempts = Attempts()
    one, other, back = refusal(0), passing(900, host="mx2"), passing(-100)
    assert attempts.settle([one], [(one, "")]).events == []
    assert attempts.settle([other], []).events == [other]
    assert attempts.settle([back], []).events == [one, back], "a clock that was set back does not hold it for ever"


def outage(at: float, program: str = "auth") -> Event:
    return event("other", at, program, reason="temporary", account=None, client_ip=None)


def test_while_the_directory_does_not_answer_nobody_guesses() -> None:
    guesses = [failed(at, 1, f"s{at}") for at in range(1, 50, 12)]
    assert count(guesses) == 5
    assert count([outage(0), *guesses]) == 0
    assert count([refusal(0), outage(1), failed(2, 1)]) == 0, "what was refused just before"
    assert count([outage(0), failed(200, 1)]) == 1


def test_a_login_ends_an_outage() -> None:
    assert count([outage(0), login(1, account="bob"), *(failed(at, 1, f"s{at}") for at in range(2, 50, 12))]) == 4


@dataclass
class Try:
    """``stores``: the seconds after which each said no. ``success``: and then the next one yes."""

    stores: list[float]
    success: bool


TRIES = st.builds(Try, st.lists(st.floats(0, 1), max_size=3).map(sorted), st.booleans())


def session_of(name: str, host: str, start: float, tries: list[Try], summed: bool) -> tuple[list[Line], int]:
    """Its lines, and the failures that they tell. Its tries are so far apart that each of them counts."""
    account, address = f"{name}@x.example", f"192.0.2.{1 + int(name)}"
    more = {"host": host, "account": account, "client_ip": address, "network": address}
    lines: list[Line] = []
    told = failures = 0
    at = start
    for one in tries:
        lines += [(at + after, refusal(at + after, name, **more)) for after in one.stores]
        if one.success:
            lines.append((at + 1.5, login(at + 1.5, name, **more)))
        else:
            told += bool(one.stores)
            failures += 1
        at += 20
    if not summed or not failures:
        return lines, told
    lines.append((at, failed(at, failures, name, **more)))
    return lines, failures if failures - told <= 1 or failures == told else -1


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 30), st.lists(TRIES, max_size=4), st.booleans())),
    st.integers(0, 2**32),
)
def test_in_whatever_frames_each_failed_try_counts_once(
    sessions: list[tuple[str, float, list[Try], bool]], seed: int
) -> None:
    lines: list[Line] = []
    wanted = 0
    for number, (host, start, tries, summed) in enumerate(sessions[:200]):
        of_session, failures = session_of(str(number), host, start, tries, summed)
        if failures < 0:
            continue  # several in its last line: the one mistake of a person
        lines += of_session
        wanted += failures
    lines.sort(key=lambda line: line[0])
    events = [event for _, event in lines]
    copies = [msgspec.structs.replace(event) for event in events]
    chance = random.Random(seed)
    assert count(events) == wanted
    assert count(copies, [chance.randrange(len(copies) + 1) for _ in range(4)]) == wanted


def test_all_that_comes_in_goes_out_once() -> None:
    events = [refusal(n / 7, f"s{n % 5}", account=f"a{n % 3}") for n in range(200)] + [login(30, "s1")]
    settled = run(events, [10, 50, 51, 160])
    assert len(settled) == 201
    assert sum(e.kind == "auth_success" for e in settled) == 1


def test_no_more_is_held_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.normalize.attempts.claims.Claims.__init__.__defaults__", (10,))
    attempts = Attempts()
    events = [refusal(0, f"s{n}", account=f"a{n}") for n in range(30)]
    settled = attempts.settle(events, [(e, "") for e in events])
    assert len(settled.events) == 20
    assert len(attempts.finish().events) == 10


def test_what_many_addresses_try_at_one_account_stays_theirs() -> None:
    """SMTP AUTH names no session: in the same second, each refusal is of its own address."""
    tried = [f"198.51.100.{n}" for n in range(1, 9)]
    guesses = [refusal(n / 10, None, service="smtp", client_ip=a, network=a) for n, a in enumerate(tried)]
    settled = run([*guesses, refusal(1, None, service="smtp", account=None, client_ip="203.0.113.1", network=None)])
    assert {e.client_ip: e.count for e in settled} == dict.fromkeys([*tried, "203.0.113.1"], 1)


def test_a_name_like_a_session_is_none() -> None:
    odd = refusal(0, None, service="smtp", account="=s", client_ip=None, network=None)
    assert count([odd, login(1, "s")]) == 1


def test_a_login_ends_an_outage_also_within_the_frame_in_which_it_began() -> None:
    lines = [outage(0), login(1, account="bob"), failed(2, 1), failed(30, 1, "t")]
    copies = [msgspec.structs.replace(event) for event in lines]
    assert count(lines) == count(copies, [1, 2, 3]) == 2


def test_hosts_that_were_settled_are_not_remembered() -> None:
    attempts = Attempts()
    for n in range(50):
        events = [refusal(n, f"s{n}", host=f"mx{n}"), login(n + 0.5, f"s{n}", host=f"mx{n}")]
        attempts.settle(events, [(e, "") for e in events])
    assert attempts.dump().claims == []
    assert not attempts._claims._hosts
