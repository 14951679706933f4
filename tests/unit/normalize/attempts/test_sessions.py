"""Failures that an auth line and the login line of their session both tell."""

import random
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

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
