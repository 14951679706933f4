"""What the brake would hold of a backtest is what it would hold of a replay."""

import copy
import random
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.brake import WouldHold
from pipeline.partition import partition_of
from pipeline.replay import Detection
from pipeline.rules import RuleSet
from pipeline.rules.config import Brake
from pipeline.trials.backtest import Counted, count_accounts, count_others, detector, route, split
from pipeline.trials.braking import Customer, would_hold
from schemas.tally import Tally
from schemas.times import HOUR
from tests.support.decisions import decision
from tests.support.waves import AT, lives, wild

PORTIONS = 3


def counted(frames: list[list[Tally]], rules: list[RuleSet]) -> list[list[Counted]]:
    """What each rule set makes of all portions, the accounts first."""
    parts = [part for number, of in enumerate(copy.deepcopy(frames)) for part in split(of, number, PORTIONS)]
    found: list[list[Counted]] = [[] for _ in rules]
    for portion in range(PORTIONS):
        mine = [frame for accounts, p, frame in parts if accounts and p == portion]
        for n, one in enumerate(count_accounts(mine, [detector(r, PORTIONS) for r in rules])):
            found[n].append(one)
    routed = [route((a for part in of for a in part.accusations), PORTIONS) for of in found]
    for portion in range(PORTIONS):
        mine = [frame for accounts, p, frame in parts if not accounts and p == portion]
        accused = [of[portion] for of in routed]
        for n, one in enumerate(count_others(mine, [detector(r, PORTIONS) for r in rules], accused)):
            found[n].append(one)
    return found


def told(parts: list[Counted], limits: Brake, partitions: int, start: float = 0.0) -> WouldHold:
    customers = [customer for part in parts for customer in part.customers]
    return would_hold(customers, [part.active for part in parts[:PORTIONS]], limits, partitions, start)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), hourly=st.integers(1, 4), partitions=st.integers(1, 4))
def test_portions_tell_what_a_replay_tells(seed: int, hourly: int, partitions: int) -> None:
    """The brakes are those of the installation's partitions, however a backtest is split."""
    frames, rules = lives(random.Random(seed)), [wild(hourly=hourly, share=0.001), wild(hourly=1, share=0.001)]
    for of_rules, parts in zip(rules, counted(frames, rules), strict=True):
        detection = Detection(of_rules, partitions)
        decisions = [d for frame in copy.deepcopy(frames) for d in detection.count(frame)]
        assert told(parts, of_rules.file.brake, partitions) == detection.would_hold
        assert sorted(d.id for part in parts for d in part.decisions) == sorted(d.id for d in decisions)
        assert detection.would_hold.decisions > 0


def customers(number: int, every: float) -> list[Customer]:
    """Decisions, the first at ``AT``, so many seconds apart."""
    issued = [datetime.fromtimestamp(AT + every * n, UTC) for n in range(number)]
    return [Customer((n, 0, 0), decision(f"u{n}@x.example", issued_at=at)) for n, at in enumerate(issued)]


def test_what_was_issued_before_the_start_is_counted_and_not_told() -> None:
    held = would_hold(customers(10, 1.0), [], Brake(hourly=4), 1, AT + 7)
    assert [(of.decisions, of.first.timestamp()) for of in held.rules] == [(3, AT + 7)]
    assert would_hold(customers(10, 1.0), [], Brake(hourly=4), 1, AT + 10) == WouldHold(1)


def test_the_active_accounts_of_all_portions_count() -> None:
    """Four decisions in an hour, for ten hours, are fine; in a day 0.1 of the accounts that were active, as each
    portion told last, within a day."""
    hour = int(AT) // HOUR
    for active, passed in (
        ([{hour: 200}, {hour - 5: 100}], 30),
        ([{hour: 200}, {}], 20),
        ([{hour: 200, hour + 5: 350}, {hour - 30: 900}], 35),
        ([{hour - 24: 500}], 5),
    ):
        found = would_hold(customers(40, 900.0), active, Brake(hourly=5, share=0.1), 1, 0.0)
        assert (found.decisions, found.hourly) == (40 - passed, 40), active


def test_accounts_that_were_active_in_the_day_before_are_told_hour_by_hour() -> None:
    frames = [
        [Tally("account", f"u{n}@x.example", "198.18.0.1", "JP", AT + HOUR * hours, successes=1) for n in accounts]
        for hours, accounts in ((0, range(10)), (1.5, range(5)), (20, range(5, 7)), (25, range(1)), (26, range(1)))
    ]
    (parts,) = counted(frames, [wild()])
    hour = int(AT) // HOUR
    timelines = [part.active for part in parts[:PORTIONS]]
    assert [sum(of.get(hour + h, 0) for of in timelines) for h in (0, 1)] == [0, 10]
    first = next(of for of in timelines if hour + 25 in of)
    alone = {n for n in range(10) if partition_of(frames[0][n], PORTIONS) == partition_of(frames[0][0], PORTIONS)}
    assert first[hour + 25] == len(alone & set(range(7)))
    assert first[hour + 26] == len(alone & {0, 5, 6})
