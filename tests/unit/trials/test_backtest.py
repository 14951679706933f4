"""The difference between decisions, and counting by partition."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.partition import partition_of
from pipeline.replay import Detection
from pipeline.rules import RuleSet, build
from pipeline.rules.config import load
from pipeline.trials.backtest import (
    Accusation,
    Change,
    compare,
    count_accounts,
    count_others,
    detector,
    interleave,
    route,
    split,
)
from schemas.enforcement import Decision
from schemas.tally import Tally
from tests.support.decisions import AT, NOW, decision

LATER = AT + timedelta(seconds=60)
RULES = build(load(None), "JP")


def kinds(changes: list[Change]) -> list[str]:
    return [change.kind for change in changes]


def test_the_same_decisions_are_no_difference() -> None:
    made = [decision("a@x.example"), decision("192.0.2.1", "ip"), decision("a@x.example", rule="foreign_senders")]
    assert compare(made, reversed(made)) == []


def test_added_and_removed() -> None:
    old, new = decision("a@x.example"), decision("b@x.example", issued_at=LATER)
    assert compare([old], [new]) == [Change("removed", old, None), Change("added", None, new)]


def test_earlier_and_later_with_seconds() -> None:
    early, late = decision("a@x.example"), decision("a@x.example", issued_at=LATER)
    assert compare([late], [early]) == [Change("earlier", late, early)]
    (later,) = compare([early], [late])
    assert (later.kind, later.seconds, later.decision) == ("later", 60.0, late)


def test_restrictions_that_do_not_overlap_are_different_ones() -> None:
    old, new = decision("a@x.example", seconds=60), decision("a@x.example", issued_at=LATER)
    assert kinds(compare([old], [new])) == ["removed", "added"]


def test_each_is_compared_with_one_only() -> None:
    whole = decision("a@x.example", seconds=7200)
    first = decision("a@x.example", seconds=60)
    second = decision("a@x.example", issued_at=AT + timedelta(seconds=600))
    changes = compare([whole], [first, second])
    assert changes == [Change("changed", whole, first), Change("added", None, second)]


def test_another_rule_or_kind_of_subject_is_another_decision() -> None:
    old = decision("x", rule="account_send_rate")
    assert kinds(compare([old], [decision("x", rule="foreign_senders")])) == ["removed", "added"]
    assert sorted(kinds(compare([old], [decision("x", "country")]))) == ["added", "removed"]


def test_shadow_and_enforced_are_told_apart() -> None:
    changes = compare([decision("a@x.example", mode="shadow")], [decision("a@x.example")])
    assert sorted((c.kind, c.decision.mode) for c in changes) == [("added", "enforce"), ("removed", "shadow")]


def test_another_action_or_end_is_a_change() -> None:
    old = decision("a@x.example")
    for new in (decision("a@x.example", action="hold"), decision("a@x.example", seconds=7200)):
        assert compare([old], [new]) == [Change("changed", old, new)]


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
