"""What may be forgotten for good, by clocks that are moved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.enforce.clock import BELIEVED, LEAP, TrustedClock

DAY = 86_400.0


def test_a_day_ahead_for_a_moment_is_not_believed() -> None:
    clock = TrustedClock()
    assert [clock.time(1000.0 + n, 50.0 + n) for n in range(3)] == [1000, 1001, 1002]
    assert [clock.time(DAY + 1003 + n, 53.0 + n) for n in range(2)] == [1003, 1004]
    assert clock.time(1005.0, 55.0) == 1005
    assert clock.leaps == 2


def test_a_clock_that_goes_on_evenly_is_believed_after_a_while() -> None:
    clock = TrustedClock()
    clock.time(1000.0, 0.0)
    assert clock.time(DAY, 1.0) == 1001
    assert clock.time(DAY + BELIEVED - 1, BELIEVED) == 1000 + BELIEVED
    assert clock.time(DAY + BELIEVED, BELIEVED + 1) == DAY + BELIEVED


@pytest.mark.parametrize("since", [500.0, 5000.0])
def test_after_a_start_no_more_time_is_sure_to_have_passed_than_since_the_snapshot(since: float) -> None:
    clock = TrustedClock()
    clock.start(1000.0, 7.0, since)
    assert clock.time(1001.0, 8.0) == min(since, 1000) + 1
    assert clock.time(1000 + BELIEVED, 7 + BELIEVED) == 1000 + BELIEVED
    assert clock.leaps == 0


@given(st.lists(st.tuples(st.floats(0, 2), st.sampled_from([0, 0, 0, 0.5, LEAP - 1, 60, DAY, -60, -DAY])), max_size=60))
def test_it_is_never_ahead_of_the_clock_and_goes_ahead_only_evenly(steps: list[tuple[float, float]]) -> None:
    clock, wall, steady, before = TrustedClock(), 10 * DAY, 0.0, 10 * DAY
    clock.time(wall, steady)
    for passed, moved in steps:
        wall, steady = wall + passed + moved, steady + passed
        found = clock.time(wall, steady)
        assert found <= wall + 1e-3
        assert found <= before + passed + LEAP + 1e-3
        before = found
