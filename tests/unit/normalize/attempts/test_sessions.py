"""Failures that an auth line and the login line of their session both tell."""

import random
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.reading.lines import LineReader
from pipeline.normalize.attempts.sessions import FailedSessions
from schemas.event import Event

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def line(program: str, session: str, count: int = 1) -> Event:
    return Event("auth_failure", NOW, "mx", program, session=session, count=count, reason="password")


def counted(lines: list[Event], overtaken: bool) -> int:
    sessions = FailedSessions(100)
    sessions.overtaken = overtaken
    for event in lines:
        assert event.session
        sessions.see(event, event.session)
    return sum(event.count for event in lines)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), max_size=5), st.integers(0, 2**32), st.booleans())
def test_each_failure_counts_once_in_whatever_order(told: list[tuple[int, int]], seed: int, shuffled: bool) -> None:
    """``told``: of each session, how many auth lines there are and how many attempts its login line tells."""
    lines = [line("auth", str(n)) for n, (auth, _) in enumerate(told) for _ in range(auth)]
    lines += [line("imap-login", str(n), attempts) for n, (_, attempts) in enumerate(told)]
    if shuffled:
        random.Random(seed).shuffle(lines)
    assert counted(lines, overtaken=shuffled) == sum(max(one) for one in told)


def test_where_lines_keep_their_order_nothing_is_kept_of_a_session_that_is_over() -> None:
    sessions = FailedSessions(100)
    for event in (line("auth", "a"), line("imap-login", "a", 3), line("imap-login", "b", 2)):
        sessions.see(event, event.session or "")
    assert sessions.dump() == [[], []]


@given(st.permutations([("e", 1), ("e", 2), ("u", 1), ("u", 2), ("e", 3), ("u", 4)]), st.integers(0, 6))
@settings(max_examples=40, deadline=None)
def test_a_failure_told_by_two_logs_counts_once(order: list[tuple[str, int]], cut: int) -> None:
    """Sessions 1 and 2 fail in both logs, 3 and 4 in one of them."""
    texts = {
        "e": "IMAP Error: Login failed for bob against h from 198.51.100.7. LOGIN: Authentication failed. in /x",
        "u": "Failed login for bob from 198.51.100.7 in session s (error: 0)",
    }
    lines = [f"[24-Nov-2026 01:50:45 +0000]: <session{n}> {texts[log]}" for log, n in order]
    events = [event for event in LineReader().read_lines(lines, 1_796_083_200.0) if isinstance(event, Event)]
    first, second = FailedSessions(100), FailedSessions(100)
    for event in events[:cut]:
        first.see(event, event.session or "")
    second.load(first.dump())
    for event in events[cut:]:
        second.see(event, event.session or "")
    assert sum(event.count for event in events) == 4
