"""Where nothing is held, what would be held is told: by the same brake, on the same tallies."""

import random
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.brake import WAITS, Brakes, HeldOfRule, WouldHold, brake_notes, let_go
from pipeline.detect.detector import Detector
from pipeline.partition import partition_of
from pipeline.replay import Detection
from pipeline.rules import RuleSet
from schemas.enforcement import Decision
from schemas.tally import Tally
from schemas.times import DAY, HOUR
from tests.support.decisions import decision
from tests.support.waves import AT, lives, wild


def counted(detector: Detector, frames: list[list[Tally]]) -> tuple[list[Decision], list[Decision]]:
    """Decisions, and which of them are held or would be; nobody is accused."""
    found = [detector.count(frame, number) for number, frame in enumerate(frames)]
    return [d for of in found for d in of.decisions], [d for of in found for d in of.held]


def detector(rules: RuleSet, *, holds: bool = False, brakes: Brakes | None = None) -> Detector:
    return Detector(rules, Allowlist(rules.file.allow), holds=holds, brakes=brakes)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), hourly=st.integers(1, 4), share=st.sampled_from((0.001, 0.1, 0.5)))
def test_what_would_be_held_is_what_is_held(seed: int, hourly: int, share: float) -> None:
    rules, frames = wild(hourly=hourly, times=1.5, share=share), lives(random.Random(seed))
    decisions, held = counted(detector(rules, holds=True), frames)
    seen, would = counted(detector(rules), frames)
    assert {d.id for d in decisions if d.is_held} == {d.id for d in held} == {d.id for d in would}
    assert [let_go(d) if d.is_held else d for d in decisions] == seen


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), hourly=st.integers(1, 3), partitions=st.integers(1, 5))
def test_each_partition_counts_for_itself(seed: int, hourly: int, partitions: int) -> None:
    """One detector that watches all of them, against the detectors of a cluster."""
    rules, frames = wild(hourly=hourly, share=0.001), lives(random.Random(seed))
    _, would = counted(detector(rules, brakes=Brakes(partitions)), frames)
    expected = set[str]()
    for partition in range(partitions):
        mine = [[tally for tally in frame if partition_of(tally, partitions) == partition] for frame in frames]
        expected |= {d.id for d in counted(detector(rules, holds=True), mine)[1]}
    assert {d.id for d in would} == expected


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), hourly=st.integers(1, 3), partitions=st.integers(1, 3))
def test_a_replay_decides_as_without_a_brake_and_tells_what_lets_all_pass(
    seed: int, hourly: int, partitions: int
) -> None:
    frames = lives(random.Random(seed))

    def replayed(hourly: int) -> tuple[list[Decision], WouldHold, set[str]]:
        detection = Detection(wild(hourly=hourly, share=0.001), partitions)
        decisions = [d for frame in frames for d in detection.count(frame)]
        return decisions, detection.would_hold, set(detection.held)

    decisions, would, held = replayed(hourly)
    assert replayed(0) == (decisions, WouldHold(partitions), set())
    assert would.decisions == len(held)
    assert {of.rule: of.first for of in would.rules} == {
        rule: min(d.issued_at for d in decisions if d.id in held and d.rule == rule)
        for rule in {d.rule for d in decisions if d.id in held}
    }
    if would.hourly is not None:
        assert replayed(would.hourly) == (decisions, WouldHold(partitions), set())


def test_the_accounts_of_a_partition_are_about_its_part_of_all() -> None:
    """A share of 0.1 of 200 accounts: one partition passes 20 in a day; each of two about 10."""
    frames = [[Tally("account", f"u{n}@x.example", "198.18.0.1", "JP", AT, successes=1) for n in range(200)]]
    sent = {"messages": 2, "recipients": 2, "successes": 1}
    frames += [
        [Tally("account", f"u{n}@x.example", "198.18.0.1", "JP", AT + 2 * DAY + HOUR * step, **sent)]
        for step, batch in enumerate(range(0, 200, 10))
        for n in range(batch, batch + 10)
    ]
    frames.insert(
        1, [Tally("account", f"u{n}@x.example", "198.18.0.1", "JP", AT + 1.5 * DAY, successes=1) for n in range(200)]
    )
    for partitions in (1, 2):
        rules = wild(hourly=10, share=0.1)
        _, would = counted(detector(rules, brakes=Brakes(partitions)), frames)
        assert len(would) == 180


def test_what_is_said_of_it() -> None:
    rows = (HeldOfRule("account_send_rate", 1234, 1200, datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC)),)
    assert brake_notes(WouldHold(4)) == []
    assert brake_notes(WouldHold(4, rows, 99)) == [
        "the brake would have held 1,234 decisions (on 4 partitions, each for itself); here it holds nothing:",
        "  1,234  account_send_rate: 1,200 subjects, first at 2026-11-24 01:02:03 UTC",
        f"  {WAITS}",
        "  `hourly = 99` under [brake] would let all of it pass",
    ]
    found = [decision("b", rule="ip_send_rate"), decision("a"), decision("b")]
    assert [(of.rule, of.decisions, of.subjects) for of in WouldHold.of(found, 1, 7).rules] == [
        (found[1].rule, 2, 2),
        ("ip_send_rate", 1, 1),
    ]
