"""From a verdict to a decision: who is never restricted, for how long, what is said."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from pipeline.detect.decide import (
    DELAY,
    MAX_EXCEPTIONS,
    Episode,
    Verdict,
    decide,
    duration_text,
    is_running,
    open_episode,
)
from pipeline.rules import RULES, Active
from pipeline.rules.config import Limit, Override, RuleConfig
from schemas.enforcement import decision_id
from schemas.tally import Tally

AT = 1_795_485_000.0
HOUR = 3600


def active(rule: str = "account_send_rate", **given: Any) -> Active:
    """``duration``, ``cap``, ``decay`` in seconds; the rest are keys of the rules file."""
    times = (given.pop("duration", HOUR), given.pop("cap", 24 * HOUR), given.pop("decay", 48 * HOUR))
    config = RuleConfig(**{"action": "reject", "limits": {}, **given})
    return Active(next(r for r in RULES if r.id == rule), config, (), *times, frozenset())


def account(**given: Any) -> Tally:
    return Tally("account", "alice@x.example", "198.51.100.7", "BR", AT, **given)


def network(subject: str = "198.51.100.7", country: str = "BR") -> Tally:
    return Tally("ip", subject, "alice@x.example", country, AT)


def verdict(rule: Active, known: tuple[str, ...] = (), group: str = "abroad") -> Verdict:
    return Verdict(rule, Limit(20, "messages", 600), 23, group, known)


# --- how long -------------------------------------------------------------------------------------------------------


def test_each_repetition_doubles_the_restriction_up_to_the_cap() -> None:
    rule, before, lengths, at = active(duration=HOUR, cap=10 * HOUR), None, [], AT
    for _ in range(70):
        before = open_episode(rule, before, at)
        lengths.append((before.until - before.since) / HOUR)
        assert is_running(before, before.until - 0.001)
        assert not is_running(before, before.until)
        at = before.until + 1
    assert lengths == [1, 2, 4, 8] + [10] * 66


def test_after_the_decay_it_begins_anew() -> None:
    rule = active(duration=HOUR, decay=5 * HOUR)
    first = open_episode(rule, None, AT)
    assert open_episode(rule, first, first.until + 5 * HOUR - 1).strikes == 2
    assert open_episode(rule, first, first.until + 5 * HOUR).strikes == 1


def test_a_cap_below_the_duration_does_not_shorten_it() -> None:
    assert open_episode(active(duration=HOUR, cap=60), None, AT).until == AT + HOUR


# --- what it says ---------------------------------------------------------------------------------------------------


def test_a_decision_says_who_what_why_and_until_when() -> None:
    tally = account(samples=("Nov 24 ...",), queue_ids=("4jYQJg4KFnzJB9r",))
    made = decide(verdict(active()), tally, Episode(AT, AT + HOUR, 1), "JP")
    issued = datetime.fromtimestamp(AT, UTC)
    assert (made.subject_kind, made.subject, made.action, made.scope, made.mode) == (
        "account", "alice@x.example", "reject", "send", "enforce",
    )  # fmt: skip
    assert (made.issued_at, made.expires_at.timestamp()) == (issued, AT + HOUR)
    assert made.id == decision_id("account_send_rate", "account", "alice@x.example", issued)
    assert made.key == "account:account_send_rate:alice@x.example"
    assert (made.rule, made.rule_version, made.actor) == ("account_send_rate", 1, "sekimori")
    assert made.reason == "alice@x.example: 23 messages sent within 10 min, from abroad (limit 20)"
    evidence = made.evidence
    assert (evidence.metric, evidence.window, evidence.observed, evidence.threshold) == ("messages", 600, 23, 20)
    assert (evidence.lines, evidence.queue_ids) == (("Nov 24 ...",), ("4jYQJg4KFnzJB9r",))


@pytest.mark.parametrize(
    ("group", "strikes", "reason"),
    [
        ("all", 1, "alice@x.example: 23 messages sent within 10 min (limit 20)"),
        ("home", 1, "alice@x.example: 23 messages sent within 10 min (limit 20)"),
        ("CN", 3, "alice@x.example: 23 messages sent within 10 min, from CN (limit 20); time 3 in a row"),
    ],
)
def test_the_reason_names_class_of_country_and_repetition(group: str, strikes: int, reason: str) -> None:
    assert decide(verdict(active(), group=group), account(), Episode(AT, AT + 1, strikes), "JP").reason == reason


def test_the_whole_system_has_a_name_for_people() -> None:
    made = decide(
        verdict(active("password_error_spike")), Tally("system", "*", "", "", AT), Episode(AT, AT + 1, 1), "JP"
    )
    assert (made.subject_kind, made.subject) == ("system", "*")
    assert made.reason.startswith("the whole system: ")


@pytest.mark.parametrize(
    ("length", "text"),
    [(5, "5 s"), (60, "1 min"), (90, "90 s"), (600, "10 min"), (3600, "1 h"), (86400, "24 h"), (604800, "7 d")],
)
def test_durations_in_the_largest_unit_that_fits(length: int, text: str) -> None:
    assert duration_text(length) == text


def test_the_same_finding_has_the_same_id_and_another_episode_another() -> None:
    first, again = (decide(verdict(active()), account(), Episode(AT, AT + 1, 1), "JP") for _ in range(2))
    later = decide(verdict(active()), account(), Episode(AT + 2, AT + 3, 2), "JP")
    assert first == again
    assert later.id != first.id
    assert later.key == first.key


def test_an_ipv6_network_is_a_prefix() -> None:
    made = decide(verdict(active("ip_send_rate")), network("2001:db8::/64"), Episode(AT, AT + 1, 1), "JP")
    assert (made.subject_kind, made.subject) == ("prefix", "2001:db8::/64")


def test_shadow_mode_is_told() -> None:
    assert decide(verdict(active(mode="shadow")), account(), Episode(AT, AT + 1, 1), "JP").mode == "shadow"


# --- what is done ---------------------------------------------------------------------------------------------------


def test_known_networks_are_left_out_of_a_login_restriction() -> None:
    rule = active("account_password_errors", action="deny_login", scope="login", parameters={"note": 1})
    made = decide(verdict(rule, ("198.51.100.1", "2001:db8::/64")), account(), Episode(AT, AT + 1, 1), "JP")
    assert made.action == "deny_login"
    assert made.parameters == {"note": 1, "except_sources": ["198.51.100.1", "2001:db8::/64"]}
    many = tuple(f"198.51.100.{n}" for n in range(200))
    made = decide(verdict(rule, many), account(), Episode(AT, AT + 1, 1), "JP")
    assert made.parameters["except_sources"] == list(many[:MAX_EXCEPTIONS])


def test_where_no_network_is_known_logins_are_only_delayed() -> None:
    rule = active("account_password_errors", action="deny_login", scope="login")
    made = decide(verdict(rule), account(), Episode(AT, AT + 1, 1), "JP")
    assert (made.action, made.parameters) == ("delay_login", {"seconds": DELAY})


def test_an_operator_may_choose_to_refuse_mail_of_an_attacked_account() -> None:
    made = decide(verdict(active("account_password_errors")), account(), Episode(AT, AT + 1, 1), "JP")
    assert (made.action, made.scope, made.parameters) == ("reject", "send", {})


@pytest.mark.parametrize(
    ("country", "action", "scope"),
    [("JP", "notify", "send"), ("", "notify", "send"), ("BR", "deny_login", "both")],
)
def test_networks_at_home_may_be_treated_otherwise(country: str, action: str, scope: str) -> None:
    rule = active("ip_accused", action="deny_login", scope="both", home=Override("notify", "send"))
    made = decide(verdict(rule), network(country=country), Episode(AT, AT + 1, 1), "JP")
    assert (made.action, made.scope) == (action, scope)


def test_what_home_does_not_say_stays() -> None:
    rule = active("ip_accused", action="deny_login", scope="both", home=Override(scope="login"))
    made = decide(verdict(rule), network(country="JP"), Episode(AT, AT + 1, 1), "JP")
    assert (made.action, made.scope) == ("deny_login", "login")


def test_decisions_can_be_written_and_read_again() -> None:
    made = decide(verdict(active(parameters={"pool": "slow"})), account(), Episode(AT, AT + 0.5, 1), "JP")
    assert msgspec.json.decode(msgspec.json.encode(made), type=type(made)) == made
