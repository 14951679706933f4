"""The difference between decisions of two rule sets."""

from datetime import timedelta

from pipeline.trials.backtest import Counted
from pipeline.trials.comparison import Change, Tried, compare
from tests.support.decisions import AT, decision

LATER = AT + timedelta(seconds=60)


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


def test_partitions_are_put_together_in_the_order_of_time() -> None:
    first, second, third = decision("a"), decision("b"), decision("a", issued_at=LATER)
    tried = Tried.of([Counted([second, third], [], 3), Counted(), Counted([first], [], 4)])
    assert (tried.decisions, tried.subjects) == ([first, second, third], 7)
    tried.leave_out_before(LATER.timestamp())
    assert tried.decisions == [third]
