"""What the brake would hold of a backtest is what it would hold of a replay."""

import copy
import random
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.brake import WouldHold
from pipeline.replay import Detection
from pipeline.rules import RuleSet
from pipeline.rules.config import Brake
from pipeline.trials.backtest import (
    Counted,
    TallyFrame,
    count_accounts,
    count_active,
    count_others,
    detector,
    route,
    split,
)
from pipeline.trials.braking import Customer, Moment, by_hour, moments, would_hold
from schemas.tally import Tally
from schemas.times import HOUR
from tests.support.decisions import decision
from tests.support.waves import AT, lives, wild

PORTIONS = 3


def split_up(frames: list[list[Tally]], *, accounts: bool) -> list[list[TallyFrame]]:
    """Each portion's frames."""
    parts = [part for number, of in enumerate(copy.deepcopy(frames)) for part in split(of, number, PORTIONS)]
    return [[frame for kind, p, frame in parts if kind == accounts and p == n] for n in range(PORTIONS)]


def counted(frames: list[list[Tally]], rules: RuleSet) -> list[Counted]:
    """What all portions make of it, the accounts first."""
    found = [count_accounts(mine, [detector(rules, PORTIONS)])[0] for mine in split_up(frames, accounts=True)]
    accused = route((a for part in found for a in part.accusations), PORTIONS)
    others = zip(split_up(frames, accounts=False), accused, strict=True)
    return found + [count_others(mine, [detector(rules, PORTIONS)], [of])[0] for mine, of in others]


def told(parts: list[Counted], frames: list[list[Tally]], rules: RuleSet, partitions: int) -> WouldHold:
    """As a backtest finds it."""
    found, limits = [customer for part in parts for customer in part.customers], rules.file.brake
    asked = moments(found, limits, partitions)
    active = [count_active(mine, [detector(rules, PORTIONS)], [asked])[0] for mine in split_up(frames, accounts=True)]
    return would_hold(found, by_hour(asked, active), limits, partitions, 0.0)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), hourly=st.integers(1, 4), partitions=st.integers(1, 4))
def test_portions_tell_what_a_replay_tells(seed: int, hourly: int, partitions: int) -> None:
    """The brakes are those of the installation's partitions, however a backtest is split."""
    frames, rules = lives(random.Random(seed)), wild(hourly=hourly, share=0.001)
    parts, detection = counted(frames, rules), Detection(rules, partitions)
    decisions = [d for frame in copy.deepcopy(frames) for d in detection.count(frame)]
    assert told(parts, frames, rules, partitions) == detection.would_hold
    assert sorted(d.id for part in parts for d in part.decisions) == sorted(d.id for d in decisions)
    assert detection.would_hold.decisions > 0


def customers(number: int, every: float) -> list[Customer]:
    """Decisions, the first at ``AT``, so many seconds apart."""
    issued = [datetime.fromtimestamp(AT + every * n, UTC) for n in range(number)]
    return [Customer((n, 0, 0), decision(f"u{n}@x.example", issued_at=at)) for n, at in enumerate(issued)]


def test_what_was_issued_before_the_start_is_counted_and_not_told() -> None:
    held = would_hold(customers(10, 1.0), {}, Brake(hourly=4), 1, AT + 7)
    assert [(of.decisions, of.first.timestamp()) for of in held.rules] == [(3, AT + 7)]
    assert would_hold(customers(10, 1.0), {}, Brake(hourly=4), 1, AT + 10) == WouldHold(1)


def test_the_active_accounts_count() -> None:
    """Four decisions in an hour, for ten hours, are fine; in a day 0.1 of the accounts that were active."""
    hour = int(AT) // HOUR
    for active, passed in (
        (dict.fromkeys(range(hour, hour + 10), 300), 30),
        (dict.fromkeys(range(hour, hour + 5), 200) | dict.fromkeys(range(hour + 5, hour + 10), 350), 35),
        ({}, 5),
    ):
        found = would_hold(customers(40, 900.0), active, Brake(hourly=5, share=0.1), 1, 0.0)
        assert (found.decisions, found.hourly) == (40 - passed, 40), active


def test_the_accounts_are_counted_only_where_it_matters() -> None:
    found = customers(40, 900.0)
    random.Random(1).shuffle(found)
    asked = moments(found, Brake(hourly=5), 1)
    assert asked == [Moment(4 * n, AT + HOUR * n) for n in range(10)]
    assert moments(found, Brake(hourly=40), 1) == []
    assert by_hour(asked[:2], [[5, 6], [10, 20]]) == {int(AT) // HOUR: 15, int(AT) // HOUR + 1: 26}
    assert by_hour([], []) == {}


def test_accounts_that_were_active_in_the_day_before() -> None:
    """Of all portions, once the frame of a moment is counted, and to the end."""
    used = ((0, range(10)), (1.5, range(5)), (20, range(5, 7)), (25, range(1)), (26, range(1)))
    frames = [
        [Tally("account", f"u{n}@x.example", "198.18.0.1", "JP", AT + HOUR * hours, successes=1) for n in accounts]
        for hours, accounts in used
    ]
    asked = [Moment(number, AT + HOUR * hours) for number, (hours, _) in enumerate(used)]
    asked.append(Moment(9, AT + HOUR * 45))
    rules = wild()
    active = [count_active(mine, [detector(rules, PORTIONS)], [asked])[0] for mine in split_up(frames, accounts=True)]
    assert [sum(of) for of in zip(*active, strict=True)] == [10, 10, 10, 7, 3, 1]
