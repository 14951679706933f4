"""The brake: a rule gone wild does not stop everybody, and guessers never profit from it."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.allowlist import Allowlist, Ours
from pipeline.detect.brake import HourlyBrake, let_go
from pipeline.detect.detector import Detector
from pipeline.rules import RuleSet, build
from pipeline.rules.config import Brake, load
from schemas.enforcement import Decision
from schemas.tally import Tally

AT = 1_795_485_600.0  # a full hour
DAY, HOUR = 86400, 3600


def rules_of(tmp_path: Path, text: str) -> RuleSet:
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return build(load(path), "JP")


@pytest.fixture
def rules(tmp_path: Path) -> RuleSet:
    """Gone wild: one message is too many."""
    wild = '[rules.account_send_rate.limits]\nhome = ["1 messages / 10m"]\n'
    return rules_of(tmp_path, f"[brake]\nhourly = 3\nshare = 0.0001\n{wild}")


def detector(rules: RuleSet, *, holds: bool = True) -> Detector:
    return Detector(rules, Allowlist(rules.file.allow), holds=holds)


def used(n: int, at: float, **counts: int) -> Tally:
    return Tally("account", f"user{n}@x.example", f"198.18.{n // 250}.{n % 250}", "JP", at, successes=1, **counts)


def wave(judge: Detector, number: int, at: float, old: bool = True) -> list[Decision]:
    """So many accounts that send a message each; used before, or new."""
    if old:
        judge.count([used(n, at - 2 * DAY) for n in range(number)], judge.position + 1)
    return [
        d
        for n in range(number)
        for d in judge.count([used(n, at + n, messages=1, recipients=1)], judge.position + 1).decisions
    ]


def test_customers_are_held_above_so_many_an_hour_and_all_are_told(rules: RuleSet) -> None:
    judge = detector(rules)
    found = wave(judge, 10, AT)
    assert [d.mode for d in found] == ["enforce"] * 3 + ["shadow"] * 7
    assert [d.is_held for d in found] == [d.mode == "shadow" for d in found]
    assert let_go(found[-1]).mode == "enforce"
    assert let_go(found[-1]).parameters == found[0].parameters
    assert {d.rule for d in found} == {"account_send_rate"}


def test_without_the_brake_the_same_is_decided_and_told(rules: RuleSet) -> None:
    judge = detector(rules, holds=False)
    judge.count([used(n, AT - 2 * DAY) for n in range(10)], 0)
    findings = judge.count([used(n, AT, messages=1, recipients=1) for n in range(10)], 1)
    assert [d.mode for d in findings.decisions] == ["enforce"] * 10
    assert len(findings.held) == 7
    assert wave(detector(rules), 10, AT) != findings.decisions


def test_who_is_new_is_never_held(rules: RuleSet) -> None:
    assert {d.mode for d in wave(detector(rules), 50, AT, old=False)} == {"enforce"}


def test_guessers_are_never_held(rules: RuleSet) -> None:
    """Networks that guess, though somebody used them well for long; and what keeps strangers out of an account."""
    judge, networks = detector(rules), [f"203.0.{n // 250}.{n % 250}" for n in range(60)]
    judge.count([Tally("ip", network, "bob@x.example", "BR", AT - 2 * DAY, successes=1) for network in networks], 0)
    guesses = [Tally("ip", network, "carol@x.example", "BR", AT + n, errors=50) for n, network in enumerate(networks)]
    found = judge.count(guesses, 1).decisions
    judge.count([used(n, AT - 2 * DAY) for n in range(60)], 2)
    for n in range(60):
        tries = [Tally("account", f"user{n}@x.example", network, "BR", AT + 5, errors=3) for network in networks[:20]]
        found += judge.count(tries, 3 + n).decisions
    assert len({d.subject for d in found}) >= 120
    assert {d.mode for d in found if d.action != "notify"} == {"enforce"}


def test_who_is_held_accuses_nobody(tmp_path: Path) -> None:
    wild = '[rules.account_send_rate.limits]\nabroad = ["1 messages / 10m"]\n'
    judge = detector(rules_of(tmp_path, f"[brake]\nhourly = 1\nshare = 0.0001\n{wild}"))
    judge.count([used(n, AT - 2 * DAY) for n in range(5)], 0)
    accusing = []
    for n in range(5):
        abroad = Tally("account", f"user{n}@x.example", f"203.0.113.{n}", "BR", AT, messages=1, successes=1)
        accusing += judge.count([abroad], n + 1).accusations
        accusing += judge.count([abroad], n + 20).accusations
    assert {t.peer for t in accusing} <= {"user0@x.example"}


def test_the_next_hour_is_another(rules: RuleSet, tmp_path: Path) -> None:
    free = rules_of(
        tmp_path, '[brake]\nhourly = 3\nshare = 1.0\n[rules.account_send_rate.limits]\nhome = ["1 messages / 10m"]'
    )
    judge = detector(free)
    modes = [Counter(d.mode for d in wave(judge, 6, AT + n * 20 * HOUR)) for n in range(2)]
    assert modes == [Counter(enforce=3, shadow=3)] * 2
    judge = detector(rules)  # a share of the accounts, in a day
    modes = [Counter(d.mode for d in wave(judge, 6, AT + n * 20 * HOUR)) for n in range(2)]
    assert modes == [Counter(enforce=3, shadow=3), Counter(shadow=6)]


def test_a_restart_forgets_no_count(rules: RuleSet) -> None:
    one, other = detector(rules), detector(rules)
    found = wave(one, 5, AT)
    other.brake.load(one.brake.dump())
    assert [d.mode for d in wave(other, 5, AT)] == ["shadow"] * 5
    assert [d.mode for d in found].count("enforce") == 3
    assert detector(rules).brake.dump() == b""


# --- against the obvious --------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32))
def test_what_is_usual(seed: int) -> None:
    """The slow and obvious: a list of all that was let pass."""
    rng = random.Random(seed)
    limits = Brake(hourly=rng.choice((1, 2, 5)), times=rng.choice((1.0, 2.0)), share=rng.choice((0.1, 1.0)))
    brake, passed = HourlyBrake(), list[int]()
    at, accounts = AT, rng.choice((1, 30, 1000))
    for _ in range(150):
        at += rng.choice((1.0, 600.0, 4000.0, 40000.0)) * rng.random()
        hour = int(at // HOUR)
        week = [h for h in passed if hour - 168 <= h < hour]
        length = hour - min(week, default=hour)
        usual = len(week) / length if length >= 24 else 0.0
        too_many = passed.count(hour) >= max(limits.hourly, limits.times * usual)
        day = sum(hour - 24 < h <= hour for h in passed)
        too_many |= day >= max(limits.hourly, limits.share * accounts)
        assert brake.holds(limits, "account_send_rate", at, lambda: accounts) == too_many
        if not too_many:
            passed.append(hour)


def test_no_brake_where_none_is_wanted() -> None:
    brake = HourlyBrake()
    assert not any(brake.holds(Brake(hourly=0), "x", AT, lambda: 1) for _ in range(1000))


# --- ourselves ------------------------------------------------------------------------------------------------------


def test_no_rule_restricts_our_own_country_or_hosts(tmp_path: Path) -> None:
    text = '[trusted]\nwebmail = ["198.51.100.7"]\n[rules.country_send_rate]\naction = "{}"\n'
    limits = '[rules.country_send_rate.limits]\nhome = ["5 messages / 10m"]\nabroad = ["5 messages / 10m"]'
    sent = [Tally("country", code, "", code, AT, messages=10, recipients=10) for code in ("JP", "BR")]
    hosts = [Tally("ip", host, "a@x.example", "BR", AT, errors=100) for host in ("198.51.100.7", "198.51.100.8")]
    for action, told in (("reject", {"BR", "198.51.100.8"}), ("notify", {"JP", "BR", "198.51.100.8"})):
        rules = rules_of(tmp_path, text.format(action) + limits)
        findings = detector(rules).count([*sent, *hosts], 0)
        assert {d.subject for d in findings.decisions} == told
        assert findings.allowed > 0
        assert [Ours(rules).covers(tally) for tally in (*sent, *hosts)] == [True, False, True, False]


# --- all in shadow --------------------------------------------------------------------------------------------------


def test_all_rules_in_shadow_restrict_nobody(tmp_path: Path) -> None:
    rules = rules_of(tmp_path, 'mode = "shadow"\n[rules.ip_password_errors]\nmode = "off"')
    guesser = Tally("ip", "203.0.113.9", "a@x.example", "BR", AT, errors=100)
    spam = Tally("account", "a@x.example", "203.0.113.9", "BR", AT, messages=100, recipients=100, successes=1)
    found = detector(rules).count([guesser, spam], 0).decisions
    assert {(d.rule, d.mode) for d in found if d.action != "notify"} == {("account_send_rate", "shadow")}
