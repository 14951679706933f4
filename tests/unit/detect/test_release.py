"""What operators lift does not come back by itself, and what is done later is judged as of somebody new."""

import random
from collections.abc import Iterable, Sequence

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import Detector, Findings
from pipeline.detect.release import SKEW, Reached, Released, release_of
from pipeline.detect.shard import SHARDS
from pipeline.rules import RuleSet
from pipeline.windows.layout import SLOT
from schemas.enforcement import Decision, decision_key
from schemas.tally import Tally
from tests.support.lives import SHIPPED, random_rules, rules_of, subjects, told
from tests.support.stages import rules

AT = 1_795_485_000.0
ALICE = "alice@x.example"


def detector(ruleset: RuleSet | None = None) -> Detector:
    ruleset = ruleset or rules()
    return Detector(ruleset, Allowlist(ruleset.file.allow))


def sent(number: int, at: float, peer: str = "198.51.100.7", country: str = "BR") -> Tally:
    return Tally("account", ALICE, peer, country, at, messages=number, recipients=number, successes=number)


def accused(number: int, at: float, by: str = ALICE) -> Tally:
    return Tally("ip", f"203.0.113.{number}", by, "BR", at, accused=1)


def releases_of(decisions: Iterable[Decision], at: float) -> list[Released]:
    found = (release_of(d.key, at) for d in decisions)
    return [release for release in found if release is not None]


def fired(findings: Findings) -> set[tuple[str, str]]:
    return {(d.rule, d.subject) for d in findings.decisions}


# --- against the obvious --------------------------------------------------------------------------------------------

SUMS = ("account_send_rate", "ip_send_rate", "country_send_rate", "foreign_senders",
        "account_many_origins", "failed_recipients")  # fmt: skip
"""Rules that ask nothing of what was long before: to them, somebody released is somebody new."""


def some_rules(rng: random.Random) -> RuleSet:
    tables = {}
    for name in rng.sample(SUMS, 4):
        metric = rng.choice([text.split()[1] for texts in SHIPPED.rules[name].limits.values() for text in texts])
        limits = [
            f"{rng.choice((2, 3, 5, 8))} {metric} / {rng.choice(('1m', '10m', '1h', '2h', '24h'))}" for _ in range(2)
        ]
        none: dict[str, list[str]] = {"all": limits, "home": [], "abroad": []}
        tables[name] = msgspec.structs.replace(
            SHIPPED.rules[name], limits=none, mode="enforce", accuse=False, for_=rng.choice(("61s", "1h"))
        )
    return rules_of(tables)


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32))
@example(seed=39916800)  # a network's success, an hour late, soon after the release
def test_who_was_released_is_judged_as_one_who_is_new(seed: int) -> None:
    """The slow and obvious: a detector that was told of nothing but what came after the release."""
    rng = random.Random(seed)
    ruleset = some_rules(rng)
    gaps = rng.choice(((2.0, 20.0), (30.0, 900.0), (60.0, 7200.0)))
    life = subjects(rng, 120, gaps)
    cut = rng.randrange(20, 80)
    before, after = life[:cut], life[cut:]
    now = max(tally.at for tally in before)
    at = now + rng.choice((0.0, 0.0, 1.0, 700.0))
    one, anew = detector(ruleset), detector(ruleset)
    for position, tally in enumerate(before):
        one.count([tally], position)
    everyone = {(tally.kind, tally.subject) for tally in life}
    one.release(Released(rule, kind, subject, at) for kind, subject in everyone for rule in ruleset.file.rules)
    new = [tally for tally in after if int(tally.at) // SLOT > int(at) // SLOT]
    for position, tally in enumerate(after, cut):
        wanted = told(anew.count([tally], position)) if tally in new else ([], [])
        assert told(one.count([tally], position)) == wanted, position


def test_lives_that_are_made_so_come_to_decisions_before_and_after() -> None:
    """Else the property above would say little."""
    both = 0
    for seed in range(60):
        rng = random.Random(seed)
        judge, life = detector(some_rules(rng)), subjects(rng, 120, (30.0, 900.0))
        found = [bool(judge.count([tally], n).decisions) for n, tally in enumerate(life)]
        both += any(found[:50]) and any(found[50:])
    assert both >= 20


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_the_margin_changes_nothing_after_a_release(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Against asking every rule at every tally, with releases at any time, of anything."""
    rng = random.Random(seed)
    ruleset = random_rules(rng, tmp_path_factory.getbasetemp() / "released.toml")
    rarely, always = detector(ruleset), detector(ruleset)
    made: list[Decision] = []
    gaps = rng.choice(((1.0,), (2.0, 20.0), (2.0, 600.0), (1.0, 30.0, 7200.0)))
    for position, tally in enumerate(subjects(rng, 150, gaps)):
        always.use(ruleset, always.allowlist)
        findings = always.count([tally], position)
        assert told(rarely.count([tally], position)) == told(findings), position
        made += findings.decisions
        if made and rng.random() < 0.15:
            lifted = releases_of(rng.sample(made, 1), tally.at - rng.choice((0.0, 0.0, 30.0, 600.0)))
            assert rarely.release(lifted) == always.release(lifted)


# --- one thing after the other --------------------------------------------------------------------------------------


def spam(at: float) -> list[Tally]:
    """From four countries, far above every limit."""
    return [sent(10, at + n, f"203.0.113.{n % 8}", ("BR", "CN", "RU", "VN")[n % 4]) for n in range(60)]


@pytest.mark.parametrize("minutes", [10, 60, 180])
def test_the_same_again_is_found_again_and_the_old_lines_are_not(minutes: int) -> None:
    judge, fresh = detector(), detector()
    first = judge.count(spam(AT), 0)
    assert fired(first) >= {("account_send_rate", ALICE), ("account_many_origins", ALICE)}
    assert judge.release(releases_of(first.decisions, AT + 120)) == len(first.decisions)
    assert judge.count(spam(AT), 1).decisions == []  # sent again, late
    wanted, again = fresh.count(spam(AT + 60 * minutes), 0), judge.count(spam(AT + 60 * minutes), 2)
    assert told(again) == told(wanted)
    assert judge.count(spam(AT + 60 * minutes + 61), 3).decisions == []  # an episode as any other


def test_a_few_messages_more_are_no_reason() -> None:
    judge = detector()
    first = judge.count(spam(AT), 0)
    judge.release(releases_of(first.decisions, AT + 120))
    at = AT + 130
    assert judge.count([sent(1, at + 30 * n) for n in range(19)], 1).decisions == []
    assert fired(judge.count([sent(1, at + 599)], 2)) == {("account_send_rate", ALICE)}


def test_what_a_rule_had_not_yet_found_is_not_asked_about_either() -> None:
    """Nineteen of twenty messages from abroad, when another rule is lifted."""
    judge = detector()
    first = judge.count([sent(5, AT + n, f"203.0.113.{n}", "ABCD"[n] + "X") for n in range(3)], 0)
    first = judge.count([Tally("account", ALICE, "203.0.113.9", "VN", AT + 4, successes=1)], 1)
    assert fired(first) == {("account_many_origins", ALICE)}
    judge.release(releases_of(first.decisions, AT + 10))
    assert judge.count([sent(15, AT + 20)], 2).decisions == []


def test_a_rule_that_was_not_lifted_goes_on() -> None:
    judge = detector()
    first = judge.count(spam(AT), 0)
    judge.release(releases_of([d for d in first.decisions if d.rule == "account_send_rate"], AT + 120))
    assert fired(judge.count(spam(AT + 3600), 1)) == {("account_send_rate", ALICE)}


def test_repetitions_are_counted_anew() -> None:
    judge = detector()
    for n in range(3):
        found = judge.count(spam(AT + n * 3600), n).decisions
        assert found
        assert not any("in a row" in d.reason for d in found)
        judge.release(releases_of(found, AT + n * 3600 + 600))


def test_a_release_that_is_heard_again_ends_nothing_more() -> None:
    judge = detector()
    lifted = releases_of(judge.count(spam(AT), 0).decisions, AT + 120)
    assert judge.release(lifted) == len(lifted)
    assert judge.count(spam(AT + 3600), 1).decisions
    assert judge.release(lifted) == 0
    assert judge.count(spam(AT + 3700), 2).decisions == []


def test_a_decision_that_came_after_the_release_stays() -> None:
    judge = detector()
    first = judge.count(spam(AT), 0)
    assert judge.release(releases_of(first.decisions, AT - SKEW - 1)) == 0
    assert judge.count(spam(AT + 600), 1).decisions == []


def test_of_a_restriction_that_was_over_by_the_clock_the_time_of_the_lines_counts() -> None:
    """A log of last year, and an operator of today."""
    judge = detector()
    first = judge.count(spam(AT), 0)
    today = releases_of(first.decisions, AT + 400 * 86400)
    assert judge.release(today, AT + 60)
    assert judge.count(spam(AT), 1).decisions == []
    assert told(judge.count(spam(AT + 3600), 2)) == told(detector().count(spam(AT + 3600), 0))


# --- networks -------------------------------------------------------------------------------------------------------


def test_a_network_that_was_released_is_accused_only_by_what_it_does_later() -> None:
    judge = detector()
    first = judge.count(spam(AT), 0)
    networks = {t.subject for t in first.accusations}
    blocked = judge.count(first.accusations, 1)
    assert fired(blocked) == {("ip_accused", network) for network in networks}
    judge.release(releases_of(blocked.decisions, AT + 120))  # of the networks alone
    assert judge.count(first.accusations, 2).decisions == []  # late
    quiet = judge.count([sent(1, AT + 300, "198.18.0.1", "JP")], 3)
    assert networks.isdisjoint({t.subject for t in quiet.accusations})
    again = judge.count([sent(1, AT + 310, "203.0.113.3", "VN")], 4)
    assert {t.subject for t in again.accusations} == {"203.0.113.3"}
    assert fired(judge.count(again.accusations, 5)) == {("ip_accused", "203.0.113.3")}
    assert judge.count([sent(1, AT + 320, "203.0.113.3", "VN")], 6).accusations == []  # once


def test_account_and_networks_released_together_are_found_together() -> None:
    judge, fresh = detector(), detector()
    first = judge.count(spam(AT), 0)
    blocked = judge.count(first.accusations, 1)
    judge.release(releases_of([*first.decisions, *blocked.decisions], AT + 120))
    for n, at in enumerate((AT + 3600, AT + 3 * 3600)):
        one, other = judge.count(spam(at), 2 + 2 * n), fresh.count(spam(at), 2 * n)
        assert told(one) == told(other)
        assert told(judge.count(one.accusations, 3 + 2 * n)) == told(fresh.count(other.accusations, 1 + 2 * n))
        lifted = releases_of([*one.decisions, *(d for d in blocked.decisions)], at + 600)
        judge.release(lifted)
        fresh = detector()


def test_an_office_that_uses_a_released_network_well_still_spares_it() -> None:
    judge, network = detector(), "203.0.113.1"
    judge.count([accused(1, AT, "thief@x.example")], 0)
    well = Tally("ip", network, "bob@x.example", "BR", AT + 10, successes=1)
    judge.count([well], 1)
    judge.release([Released("ip_accused", "ip", network, AT + 60)])
    assert judge.count([accused(1, AT + 70)], 2).decisions == []


# --- which tombstones are releases ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        (
            decision_key("account", "account_send_rate", "a:b@x.example"),
            ("account_send_rate", "account", "a:b@x.example"),
        ),
        (decision_key("prefix", "ip_accused", "2001:db8::/64"), ("ip_accused", "ip", "2001:db8::/64")),
        (decision_key("ip", "ip_accused", "203.0.113.1"), ("ip_accused", "ip", "203.0.113.1")),
        (decision_key("system", "password_error_spike", "*"), ("password_error_spike", "system", "*")),
        (decision_key("account", "manual", ALICE), None),
        (decision_key("account_ip", "x", f"{ALICE}|203.0.113.1"), None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_keys(key: str, wanted: tuple[str, str, str] | None) -> None:
    found = release_of(key, AT)
    assert (found and found[:4]) == (wanted and (*wanted, AT))


# --- states ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_a_restart_forgets_no_release(seed: int) -> None:
    rng = random.Random(seed)
    ruleset = some_rules(rng)
    one, other = detector(ruleset), detector(ruleset)
    made: list[Decision] = []
    for position, tally in enumerate(subjects(rng, 100, rng.choice(((2.0, 20.0), (60.0, 7200.0))))):
        findings = one.count([tally], position)
        assert told(other.count([tally], position)) == told(findings)
        made += findings.decisions
        if made and rng.random() < 0.2:
            lifted = releases_of(made[-1:], tally.at)
            assert one.release(lifted) == other.release(lifted)
        if rng.random() < 0.3:
            other = moved(other, detector(ruleset))


def moved(old: Detector, new: Detector) -> Detector:
    for number in range(SHARDS):
        old._shards[number].dirty = True
        new.load(number, old.dump(number) or b"")
    return new


# --- how far a partition had come -----------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=30), st.integers(0, 60))
def test_reached(notes: Sequence[tuple[int, int]], time: int) -> None:
    """Messages are written in order; the latest event of all that were written until then."""
    reached, written = Reached(), 0.0
    known: list[tuple[float, float]] = []
    for later, event in notes:
        written += later
        reached.note(written, event)
        known.append((written, float(event)))
    until = [event for at, event in known if at <= time]
    assert reached.at(time) == (max(until) if until else None)
