"""Counting by partition."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.partition import partition_of
from pipeline.replay import Detection
from pipeline.rules import RuleSet, build
from pipeline.rules.config import load
from pipeline.trials.backtest import (
    Accusation,
    count_accounts,
    count_others,
    detector,
    interleave,
    route,
    split,
)
from schemas.enforcement import Decision
from schemas.tally import Tally
from tests.support.decisions import NOW

RULES = build(load(None), "JP")


@given(st.lists(st.lists(st.integers(0, 50), max_size=8), min_size=1, max_size=4))
def test_interleaving_keeps_the_order_of_each_source(times: list[list[int]]) -> None:
    numbers = interleave(times, ["mail.log"] * len(times))
    assert [len(n) for n in numbers] == [len(t) for t in times]
    assert sorted(n for of in numbers for n in of) == list(range(sum(map(len, times))))
    assert all(of == sorted(of) for of in numbers)


def test_accusations_go_to_the_networks_partition_in_the_order_of_replay() -> None:
    accusations = [
        Accusation(number, place, Tally("ip", f"192.0.2.{number}{place}", "a@x.example", "RU", NOW, accused=1))
        for number, place in ((2, 0), (1, 5), (1, 2))
    ]
    routed = route(accusations, 3)
    for partition, found in enumerate(routed):
        assert all(partition_of(a.tally, 3) == partition for a in found)
        assert found == sorted(found, key=lambda a: (a.number, a.place))
    assert sum(map(len, routed)) == 3


networks = st.integers(1, 30).map(lambda n: f"203.0.113.{n}")
accounts = st.sampled_from([f"user{n}@x.example" for n in range(4)])


@st.composite
def frames(draw: st.DrawFn) -> list[list[Tally]]:
    """Frames of tallies as the tallier makes them: each account's, and the same for its network."""
    made, at = [], NOW
    for _ in range(draw(st.integers(1, 12))):
        frame = []
        for _ in range(draw(st.integers(1, 6))):
            at += draw(st.integers(0, 90))
            account, network = draw(accounts), draw(networks)
            good = draw(st.booleans())
            counts = (draw(st.integers(1, 15)), 30, 0, 0, 0, 0, 1) if good else (0, 0, 0, draw(st.integers(1, 9)))
            frame += [
                Tally("account", account, network, "RU", at, *counts),
                Tally("ip", network, account, "RU", at, *counts),
            ]
        made.append(frame)
    return made


def replayed(of: list[list[Tally]]) -> list[Decision]:
    detection = Detection(RULES)
    return [decision for frame in of for decision in detection.count(frame)]


def partitioned(of: list[list[Tally]], rules: list[RuleSet], partitions: int) -> list[list[Decision]]:
    parts = [part for number, tallies in enumerate(of) for part in split(tallies, number, partitions)]
    found: list[list[Decision]] = [[] for _ in rules]
    accused: list[list[Accusation]] = [[] for _ in rules]
    for partition in range(partitions):
        mine = [frame for is_account, p, frame in parts if is_account and p == partition]
        for n, counted in enumerate(count_accounts(mine, [detector(r, partitions) for r in rules])):
            found[n] += counted.decisions
            accused[n] += counted.accusations
    routed = [route(of_rules, partitions) for of_rules in accused]
    for partition in range(partitions):
        mine = [frame for is_account, p, frame in parts if not is_account and p == partition]
        detectors = [detector(r, partitions) for r in rules]
        for n, counted in enumerate(count_others(mine, detectors, [of_rules[partition] for of_rules in routed])):
            found[n] += counted.decisions
    return found


@settings(max_examples=40)
@given(frames(), st.integers(1, 5))
def test_partitions_decide_what_a_replay_decides(of: list[list[Tally]], partitions: int) -> None:
    expected = sorted(replayed(of), key=lambda d: d.id)
    for found in partitioned(of, [RULES, RULES], partitions):
        assert sorted(found, key=lambda d: d.id) == expected
