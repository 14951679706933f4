"""What operators ask for means the same to an agent and to who reads the topic."""

from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.enforce.asked import Asked, Listed, of_decision, of_restriction
from pipeline.enforce.table import DecisionTable
from pipeline.enforce.terms import Restriction, restriction_of
from pipeline.enforce.wording import MAX_SHOWN
from pipeline.networks import Subject
from pipeline.subjects import Concerning, concerns
from schemas.enforcement import EXAMPLES, HELD_BY, Decision
from schemas.kinds import SubjectKind
from tests.support.decisions import NOW, decision

addresses = ("198.51.100.7", "198.51.100.0/24", "0.0.0.0/0", "::ffff:198.51.100.7", "2001:DB8:0:0::26", "2001:db8::/64")
accounts = ("alice@example.org", "Alice@Example.ORG", " alice@example.org", "alice", "ΑΣ@x.example", "bob", "x\ny")
SUBJECTS: tuple[tuple[SubjectKind, str], ...] = (
    *(("account", account) for account in accounts),
    *(("ip", address) for address in addresses),
    *(("prefix", address) for address in addresses),
    *(("account_ip", f"{account}|{address}") for account in accounts for address in addresses),
    *((kind, name) for kind in ("country", "ip", "account_ip", "system") for name in ("JP", "jp", "no address", "*")),
)
subjects = st.sampled_from(SUBJECTS)
WANTED: tuple[Subject, ...] = (
    *(("account", name) for name in ("alice@example.org", "alice", "bob", "ας@x.example")),
    *(("ip", name) for name in ("198.51.100.7", "198.51.100.0/24", "2001:db8::26", "2001:db8::/32", "0.0.0.0/0")),
    ("country", "JP"),
    ("account_ip", "alice@example.org|198.51.100.7"),
)
modes = st.sampled_from(("enforce", "shadow"))
rules = st.sampled_from(("manual", "guessing"))


@given(subjects, rules, modes, st.lists(st.sampled_from(WANTED), max_size=2), st.none() | rules, st.none() | modes)
def test_what_is_asked_for_is_what_concerns_every_subject(
    subject: Subject, rule: str, mode: Any, wanted: list[Subject], rule_wanted: str | None, mode_wanted: Any
) -> None:
    asked = Asked(NOW, tuple(wanted), rule_wanted, mode_wanted)
    expected = (
        all(concerns(subject, one) for one in wanted) and rule_wanted in {None, rule} and mode_wanted in {None, mode}
    )
    assert asked.matches(*subject, rule, mode) == expected


@given(st.lists(st.tuples(subjects, rules)), st.sampled_from(WANTED) | subjects, st.integers(1, 3))
@example([((("account", "X\ny")), "manual")], ("account", "X\ny"), 1)
def test_what_is_looked_up_is_all_that_concerns_a_subject(
    held: list[tuple[Subject, str]], wanted: Subject, size: int
) -> None:
    made = DecisionTable()
    for (kind, subject), rule in held:
        with suppress(ValueError):  # no such subject
            given = decision(subject, kind, rule=rule)
            made.apply(given.key, given)
    found = [r for part in made.about(wanted, size) for r in part]
    assert len(found) == len(set(found))
    there = {r for r in made.decisions() if concerns((r.terms.kind, r.subject), wanted)}
    assert {r for r in found if concerns((r.terms.kind, r.subject), wanted)} == there


@given(st.lists(subjects), subjects)
def test_many_subjects_concern_another_as_one_of_them_does(many: list[Subject], wanted: Subject) -> None:
    assert (wanted in Concerning(many)) == any(concerns(one, wanted) for one in many)


REASONS = st.text() | st.text("ab []?[", max_size=30) | st.text("a", min_size=140, max_size=520)


@given(REASONS, st.text(min_size=1), st.text(), st.sampled_from(["enforce", "shadow"]), st.booleans())
@example("合言葉が盗まれた", "0123456789abcdef", "operator:花", "enforce", False)
@example("a [b]", "c [d]", "", "shadow", True)
def test_an_agent_shows_of_a_decision_what_the_topic_does(
    reason: str, decision_id: str, actor: str, mode: str, held: bool
) -> None:
    made = decision(
        "alice@example.org",
        reason=reason,
        id=decision_id,
        actor=actor,
        mode=mode,
        parameters={HELD_BY: "brake"} if held else {},
    )
    listed = of_restriction(restriction_of(made))
    assert listed == of_decision(made)
    assert len(listed.reason) <= MAX_SHOWN
    assert listed.reason == reason or (len(reason) > MAX_SHOWN and listed.reason[:-1] == reason[: MAX_SHOWN - 1])
    assert (listed.key, listed.until, listed.held) == (made.key, made.expires_at, made.is_held)
    assert msgspec.json.decode(msgspec.json.encode(listed), type=Listed) == listed


def test_what_rules_say_costs_the_agent_nothing_more() -> None:
    ordinary = (decision("alice@example.org"), *EXAMPLES)
    assert {type(restriction_of(made)) for made in ordinary} == {Restriction}
    strange: Decision = decision("alice@example.org", reason="合言葉が盗まれた")
    assert restriction_of(strange).why == (strange.reason, strange.id[:8])
