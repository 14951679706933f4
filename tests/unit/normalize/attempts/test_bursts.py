"""What one person does with one wrong password, and what no person does."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.normalize.attempts.bursts import LENGTH, MOST, Bursts
from schemas.event import Event
from schemas.times import HOUR

START = datetime(2026, 11, 24, tzinfo=UTC)
Failure = tuple[float, str, str, int]
"""When, account, network, how many."""


def counted(failures: list[Failure]) -> list[int]:
    bursts, found = Bursts(), []
    for at, account, network, count in failures:
        time = START + timedelta(seconds=at)
        event = Event("auth_failure", time, "mx", "imap", account=account, network=network, reason="password")
        event.count = count
        bursts.see(event)
        found.append(event.count)
        restarted = Bursts()
        restarted.load(bursts.dump())
        bursts = restarted
    return found


def test_a_mail_client_with_a_wrong_password_makes_one_mistake() -> None:
    assert counted([(at, "ann", "192.0.2.7", 1) for at in (0, 0.2, 1, 1, 3, 9)]) == [1, 0, 0, 0, 0, 0]
    assert counted([(0, "ann", "192.0.2.7", 6)]) == [1]


def test_machine_speed_counts_in_full() -> None:
    assert counted([(n / 10, "ann", "192.0.2.7", 1) for n in range(10)]) == [1, *[0] * 7, 8, 1]
    assert counted([(0, "ann", "192.0.2.7", 9)]) == [9]


def test_a_second_burst_within_the_hour_counts_in_full() -> None:
    later = [(at, "ann", "192.0.2.7", 1) for at in (600, 601, 602)]
    assert counted([(0, "ann", "192.0.2.7", 3), *later]) == [1, 1, 1, 1]
    assert counted([(0, "ann", "192.0.2.7", 3), (4000, "ann", "192.0.2.7", 3)]) == [1, 1]


def test_whoever_fails_at_many_accounts_is_no_single_person() -> None:
    sprayed = [(float(n), f"a{n}", "192.0.2.7", 4) for n in range(5)]
    assert counted(sprayed) == [1, 1, 4, 4, 4]


@pytest.mark.parametrize("other", ["bob", "ann"])
def test_each_account_and_network_has_its_own(other: str) -> None:
    network = "192.0.2.7" if other == "bob" else "198.51.100.7"
    assert counted([(0, "ann", "192.0.2.7", 2), (1, other, network, 2)]) == [1, 1]


@given(st.lists(st.tuples(st.floats(0, 9000), st.sampled_from(["a", "b"]), st.just("n"), st.integers(1, 5))))
def test_no_more_than_all_and_no_less_than_one_of_each_burst(failures: list[Failure]) -> None:
    failures.sort()
    found = counted(failures)
    assert sum(found) <= sum(f[3] for f in failures)
    for account in ("a", "b"):
        own = [(f, n) for f, n in zip(failures, found, strict=True) if f[1] == account]
        if own:
            assert own[0][1] >= 1
        since = own[0][0][0] if own else 0.0
        tries = 0
        for (at, _, _, count), n in own:
            if at - since > HOUR:
                since, tries = at, 0
            tries += count
            if at - since > LENGTH:
                assert n == count, "only the first seconds of an hour are one mistake"
            elif tries <= MOST:
                assert n == (tries == count), "one for all of them"
