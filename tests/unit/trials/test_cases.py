"""Files of known cases, and scores by hand-computed figures."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from pipeline.trials.cases import Case, CasesError, nearest_rank, parse_cases, score
from tests.support.decisions import AT, NOW, decision

TOML = """
[[case]]
subject = "Alice@Example.org"
label = "abused"
since = 2026-11-24T01:00:00Z

[[case]]
subject = "192.0.2.0/24"
label = "honest"
"""
CSV = "subject,label,since\nalice@example.org,abused,2026-11-24T10:00:00+09:00\n192.0.2.0/24,honest,\n"
JSONL = """{"subject": "alice@example.org", "label": "abused", "since": "2026-11-24T10:00:00"}

{"subject": "192.0.2.0/24", "label": "honest"}
"""


@pytest.mark.parametrize(("name", "text"), [("c.toml", TOML), ("c.csv", CSV), ("c.jsonl", JSONL)])
def test_three_forms_say_the_same(name: str, text: str) -> None:
    alice, network = parse_cases(text, name, ZoneInfo("Asia/Tokyo"))
    assert (alice.subject, alice.label, alice.since, alice.network) == ("alice@example.org", "abused", NOW, None)
    assert (network.label, str(network.network)) == ("honest", "192.0.2.0/24")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("c.txt", "", "must end in"),
        ("c.toml", "case = 3", "tables"),
        ("c.toml", "[[case]\n", "cannot be read"),
        ("c.toml", "[[case]]\nsubject = 3\nlabel = 'honest'", "case 1: subject"),
        ("c.csv", "subject,label\na,abused\nb,guilty\n", "case 2: label"),
        ("c.csv", "subject,label,when\na,abused,now\n", "case 1: unknown: when"),
        ("c.csv", "subject,label\na,abused,3\n", "case 1: unknown"),
        ("c.jsonl", '{"subject": "a", "label": "abused", "since": "soon"}', "'soon' is no time"),
        ("c.jsonl", "[1]", "case 1: must be a table"),
        ("c.jsonl", "{", "cannot be read"),
        ("c.csv", "subject,label\na,abused\nA,honest\n", "case 2: a is given twice"),
    ],
)
def test_what_is_wrong_is_said(name: str, text: str, why: str) -> None:
    with pytest.raises(CasesError, match=why):
        parse_cases(text, name)


def abused(subject: str, since: float = NOW) -> Case:
    return Case(subject, "abused", since)


def test_score_of_accounts_by_hand() -> None:
    cases = [abused(f"s{n}", NOW - 10 * n) for n in range(4)] + [Case("h0", "honest"), Case("h1", "honest")]
    decisions = [decision(f"s{n}") for n in range(3)] + [decision("h0"), decision("other")]
    found = score(cases, decisions, "account", {"s0": 2, "s3": 40, "other": 99})
    assert found is not None
    assert (found.abused, found.found, found.missed, found.honest, found.hurt) == (4, 3, ("s3",), 2, ("h0",))
    assert (found.precision, found.recall) == (3 / 4, 3 / 4)
    assert (found.median, found.p90, found.leaked) == (10.0, 20.0, 42)


def test_what_does_not_stop_mail_finds_no_account() -> None:
    idle = [
        decision("s", action="notify"),
        decision("s", action="deny_login", scope="login"),
        decision("s", mode="shadow"),
        decision("s", issued_at=AT - timedelta(hours=2), seconds=3600),
    ]
    found = score([abused("s")], idle, "account", {})
    assert found is not None
    assert (found.recall, found.precision, found.median) == (0.0, None, None)


def test_a_restriction_that_already_holds_finds_at_once() -> None:
    found = score([abused("s")], [decision("s", issued_at=AT - timedelta(minutes=5))], "account", {})
    assert found is not None
    assert found.median == 0.0


def test_addresses_are_found_by_their_prefix_and_no_account_by_an_address() -> None:
    cases = parse_cases(JSONL.replace("honest", "abused") + '{"subject": "2001:db8::1", "label": "abused"}', "c.jsonl")
    decisions = [
        decision("2001:db8::/64", "prefix", action="deny_login", scope="login"),
        decision("192.0.2.7", "ip", action="deny_login", scope="login"),
    ]
    found = score(cases, decisions, "ip", {})
    assert found is not None
    assert (found.abused, found.found) == (2, 2)
    accounts = score(cases, decisions, "account", {})
    assert accounts is not None
    assert accounts.found == 0
    assert score([abused("s")], decisions, "ip", {}) is None


def test_nearest_rank_by_hand() -> None:
    values = [15.0, 20.0, 35.0, 40.0, 50.0]
    assert [nearest_rank(values, share) for share in (0.05, 0.3, 0.4, 0.5, 1.0)] == [15, 20, 20, 35, 50]
    assert nearest_rank([], 0.5) is None
