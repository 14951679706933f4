from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.enforce.table import STRENGTH, DecisionTable
from schemas.enforcement import EXAMPLES, Decision
from schemas.kinds import SubjectKind
from tests.support.decisions import AT, NOW, allow, decision, table

V4, V6 = "198.51.100.7", "2001:db8::26"
ALICE = "alice@example.org"


def held(made: DecisionTable, now: float = NOW, **client: Any) -> list[str]:
    """Subjects of what holds for sending, strongest first."""
    holding = made.lookup("send", now, **({"account": ALICE, "address": V4} | client))
    return [r.subject for r in holding.restrictions] if holding else []


@pytest.mark.parametrize(
    ("kind", "subject", "address"),
    [
        ("account", ALICE, V4),
        ("account", "Alice@Example.org", "unknown"),
        ("ip", V4, V4),
        ("ip", V4, f"::ffff:{V4}"),
        ("ip", "2001:db8::/64", V6),
        ("ip", "2001:DB8:0:0:0::26", V6),
        ("prefix", "198.51.100.0/24", V4),
        ("prefix", "198.51.100.7/32", V4),
        ("prefix", "128.0.0.0/1", V4),
        ("prefix", "0.0.0.0/0", V4),
        ("prefix", "2001:db8::/32", V6),
        ("country", "RU", V4),
        ("account_ip", f"{ALICE}|{V4}", V4),
        ("account_ip", f"{ALICE}|2001:db8:0::/64", V6),
        ("account_ip", f"{ALICE}|{V6}", V6),
    ],
)
def test_a_decision_is_found_by_each_kind_of_subject_until_its_tombstone(
    kind: SubjectKind, subject: str, address: str
) -> None:
    given = decision(subject, kind)
    made = table(given)
    assert held(made, address=address, country_of=lambda a: "RU") == [subject]
    assert (found := made.find(given.key)) is not None
    assert found.subject == subject
    assert made.find(given.key.replace(":account_send_rate:", ":manual:")) is None
    assert made.apply(given.key, None)
    assert made.find(given.key) is None
    assert held(made, address=address, country_of=lambda a: "RU") == []
    assert (len(made), made.apply(given.key, None)) == (0, False)


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("account", "bob@example.org"),
        ("ip", "198.51.100.8"),
        ("ip", "2001:db8:0:1::/64"),
        ("prefix", "198.51.101.0/24"),
        ("country", "JP"),
        ("account_ip", f"bob@example.org|{V4}"),
        ("account_ip", f"{ALICE}|198.51.100.8"),
        ("system", "*"),
    ],
)
def test_decisions_about_others_do_not_hold(kind: SubjectKind, subject: str) -> None:
    made = table(decision(subject, kind))
    assert held(made, country_of=lambda a: "RU") == held(made, address=V6) == []


def test_nobody_is_looked_up_for_nothing() -> None:
    def never(address: str) -> str:
        raise AssertionError(address)

    made = table(decision(ALICE), decision(V4, "ip"))
    assert held(made, account="bob@example.org", address="192.0.2.1", country_of=never) == []
    assert held(made, account="", address="") == []


@pytest.mark.parametrize(
    "entry",
    [
        allow(ALICE),
        allow(V4, "ip"),
        allow("198.51.0.0/16", "prefix"),
        allow("RU", "country"),
        allow(f"{ALICE}|{V4}", "account_ip"),
    ],
    ids=lambda e: e.subject_kind,
)
@pytest.mark.parametrize("rule", ["manual", "account_send_rate"])
@pytest.mark.parametrize(("kind", "subject"), [("account", ALICE), ("ip", V4), ("country", "RU")])
def test_the_allowlist_wins_over_everything(entry: Any, rule: str, kind: SubjectKind, subject: str) -> None:
    made = table(decision(subject, kind, rule=rule))

    def restricted(now: float = NOW) -> list[str]:
        return held(made, now, country_of=lambda a: "RU")

    assert restricted() == [subject]
    assert made.allow(entry.key, entry)
    assert not made.allow(entry.key, entry)
    assert (restricted(), made.allow_entries) == ([], 1)
    assert made.allow(entry.key, None)
    assert (restricted(), made.allow_entries) == ([subject], 0)


def test_an_allowlist_entry_ends_and_is_not_replaced_by_an_older_one() -> None:
    made = table(decision(ALICE), allow(ALICE, expires_at=AT + timedelta(seconds=60)))
    older = allow(ALICE, issued_at=AT - timedelta(seconds=1))
    assert not made.allow(older.key, older)
    assert held(made, NOW + 59.9) == []
    assert held(made, NOW + 60) == [ALICE]


def test_a_manual_decision_wins_over_a_stronger_automatic_one() -> None:
    made = table(
        decision(ALICE),
        decision(V4, "ip", rule="manual", action="limit", parameters={"messages": 5, "window": 60}),
    )
    assert held(made) == [V4]


def test_an_enforced_decision_wins_over_shadow_even_manual() -> None:
    shadow = decision(ALICE, rule="manual", mode="shadow")
    made = table(shadow)
    holding = made.lookup("send", NOW, account=ALICE)
    assert holding is not None
    assert holding.shadow
    weaker = decision(V4, "ip", action="route", parameters={"pool": "slow"})
    made.apply(weaker.key, weaker)
    assert held(made) == [V4]
    assert made.count == {"enforce": 1, "shadow": 1}


def test_the_strongest_comes_first_in_whatever_order_they_came() -> None:
    given = [
        decision(ALICE, rule=f"rule_{action}", action=action, parameters=PARAMETERS.get(action, {}), scope="both")
        for action in STRENGTH["send"]
    ]
    for order in list(permutations(given))[::100]:
        holding = table(*order).lookup("send", NOW, account=ALICE)
        assert holding is not None
        assert tuple(r.terms.action for r in holding.restrictions) == STRENGTH["send"]


PARAMETERS: dict[str, dict[str, Any]] = {
    "limit": {"messages": 5, "window": 60},
    "route": {"pool": "slow-1"},
    "delay_login": {"seconds": 3},
}


@pytest.mark.parametrize(
    ("action", "scope", "send", "login"),
    [
        ("reject", "send", True, False),
        ("reject", "login", False, True),
        ("reject", "both", True, True),
        ("deny_login", "login", False, True),
        ("deny_login", "both", True, True),
        ("delay_login", "both", False, True),
        ("challenge", "both", False, True),
        ("defer", "both", True, False),
        ("limit", "both", True, False),
        ("notify", "both", False, False),
    ],
)
def test_a_decision_holds_for_what_its_scope_and_action_mean(action: str, scope: str, send: bool, login: bool) -> None:
    made = table(decision(ALICE, action=action, scope=scope, parameters=PARAMETERS.get(action, {})))
    assert (made.lookup("send", NOW, account=ALICE) is not None) == send
    assert (made.lookup("login", NOW, account=ALICE, protocol="imap") is not None) == login


def test_a_decision_may_be_about_some_protocols_only() -> None:
    made = table(decision(ALICE, scope="both", protocols=["imap", "pop3"]))
    found = {p: made.lookup("login", NOW, account=ALICE, protocol=p) is not None for p in ("imap", "pop3", "smtp")}
    assert found == {"imap": True, "pop3": True, "smtp": False}


@pytest.mark.parametrize("action", ["deny_login", "delay_login", "challenge"])
@pytest.mark.parametrize(
    ("address", "holds"),
    [("198.51.100.7", False), ("2001:db8::26", False), ("198.51.100.8", True), ("2001:db8:0:1::26", True), ("", True)],
)
def test_a_login_restriction_does_not_hold_for_the_owners_sources(action: str, address: str, holds: bool) -> None:
    parameters = {"except_sources": ["198.51.100.7", "2001:db8::/64"], "seconds": 5}
    made = table(decision(ALICE, action=action, scope="login", parameters=parameters))
    assert (made.lookup("login", NOW, account=ALICE, address=address, protocol="imap") is not None) == holds


def test_the_owners_sources_do_not_lift_a_restriction_of_sending() -> None:
    made = table(decision(ALICE, scope="both", parameters={"except_sources": [V4]}))
    assert held(made) == [ALICE]
    assert made.lookup("login", NOW, account=ALICE, address=V4, protocol="imap") is None


def test_a_decision_ends_by_itself() -> None:
    made = table(decision(ALICE, seconds=60), decision(V4, "ip", seconds=120, mode="shadow"))
    assert held(made, NOW + 59.9) == [ALICE]
    assert held(made, NOW + 60) == [V4]
    assert (made.expire(NOW + 59.9), len(made)) == (0, 2)
    assert (made.expire(NOW + 60), len(made), made.count) == (1, 1, {"enforce": 0, "shadow": 1})
    assert (made.expire(NOW + 500), len(made)) == (1, 0)


def test_expiry_is_done_in_portions() -> None:
    made = table(*(decision(f"user{n}@example.org", seconds=n + 1) for n in range(25)))
    assert [made.expire(NOW + 100, most=10) for _ in range(4)] == [10, 10, 5, 0]


def test_a_decision_that_is_renewed_for_ever_takes_no_more_memory() -> None:
    made = table()
    for n in range(5000):
        renewed = decision(ALICE, issued_at=AT + timedelta(seconds=n))
        made.apply(renewed.key, renewed)
        made.expire(NOW)
    assert len(made) == 1
    assert len(made.decisions()) < 1100


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.subject_kind)
def test_the_examples_of_the_schema_are_obeyed(example: Decision) -> None:
    made = table(example)
    now = example.issued_at.timestamp()
    holding = made.lookup("send", now, account="alice@example.org", address="2001:db8:5::1")
    assert holding is not None
    assert holding.restrictions[0].text == f"{example.reason} [{example.id[:8]}]"


@pytest.mark.parametrize(
    "change",
    [
        {"action": "route"},
        {"action": "route", "parameters": {"pool": "slow:[192.0.2.1]"}},
        {"action": "route", "parameters": {"pool": "slow\naction=OK"}},
        {"action": "limit", "parameters": {"messages": 5}},
        {"action": "limit", "parameters": {"window": 60}},
        {"action": "limit", "parameters": {"messages": True, "window": 60}},
        {"action": "limit", "parameters": {"messages": "5", "window": 60}},
        {"action": "delay_login"},
        {"action": "delay_login", "parameters": {"seconds": 3600}},
        {"parameters": {"except_sources": "198.51.100.7"}},
        {"parameters": {"except_sources": ["office"]}},
        {"subject": "x" * 2000},
        {"subject_kind": "ip", "subject": "nowhere"},
        {"subject_kind": "account_ip", "subject": ALICE},
    ],
)
def test_what_cannot_be_obeyed_is_refused_and_changes_nothing(change: dict[str, Any]) -> None:
    good = decision(ALICE)
    made = table(good)
    subject, kind = change.pop("subject", ALICE), change.pop("subject_kind", "account")
    bad = decision(subject, kind, issued_at=AT + timedelta(seconds=1), **change)
    with pytest.raises(ValueError, match=r"\w"):
        made.apply(bad.key, bad)
    assert held(made) == [ALICE]
    assert len(made) == 1


@pytest.mark.parametrize("key", ["", "account", "account:rule", "nobody:rule:x", "ip:rule:nowhere", "account:rule:"])
def test_keys_that_are_none_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        table().apply(key, None)
    with pytest.raises(ValueError, match=r"\w"):
        table().allow(key, None)


def test_a_decision_under_another_key_is_refused_since_no_tombstone_could_lift_it() -> None:
    given = decision(ALICE)
    with pytest.raises(ValueError, match="not that of the decision"):
        table().apply("account:manual:alice@example.org", given)
    with pytest.raises(ValueError, match="not that of the setting"):
        table().allow("allow:account:bob@example.org", allow(ALICE))


RULES = ("manual", "account_send_rate", "ip_errors")
SUBJECTS: tuple[tuple[SubjectKind, str], ...] = (("account", ALICE), ("ip", V4), ("prefix", f"{V4}/32"))
MESSAGES = st.lists(
    st.tuples(st.sampled_from(SUBJECTS), st.sampled_from(RULES), st.integers(0, 5), st.integers(1, 9), st.booleans())
)


@given(MESSAGES, st.integers(0, 15))
def test_the_table_agrees_with_a_plain_dictionary(messages: list[Any], later: int) -> None:
    made, model = table(), dict[str, Decision]()
    for (kind, subject), rule, issued, seconds, lifted in messages:
        given = decision(subject, kind, rule=rule, issued_at=AT + timedelta(seconds=issued), seconds=seconds)
        if lifted:
            model.pop(given.key, None)
            made.apply(given.key, None)
            continue
        for _ in range(2):
            made.apply(given.key, given)
        known = model.get(given.key)
        if known is None or known.issued_at <= given.issued_at:
            model[given.key] = given
    assert len(made) == len(model)
    for kind, subject in SUBJECTS:
        for rule in RULES:
            key = f"{kind}:{rule}:{subject}"
            one, wanted = made.find(key), model.get(key)
            assert (one.issued_at if one else None) == (wanted.issued_at.timestamp() if wanted else None)
    expected = {k: d for k, d in model.items() if d.expires_at.timestamp() > NOW + later}
    manual = {k: d for k, d in expected.items() if d.rule == "manual"}
    holding = made.lookup("send", NOW + later, account=ALICE, address=V4)
    found = {f"{r.terms.kind}:{r.terms.rule}:{r.subject}" for r in (holding.restrictions if holding else ())}
    assert found == set(manual or expected)
    made.expire(NOW + later)
    assert len(made) == len(expected)
    assert {r.expires_at for r in made.decisions() if r.live} == {d.expires_at.timestamp() for d in expected.values()}


def test_another_table_takes_the_place_of_the_decisions_alone() -> None:
    made, other = table(decision(ALICE), allow("bob@example.org")), table(decision(V4, "ip"))
    made.take(other, decisions=True, allowlist=False)
    assert held(made) == [V4]
    assert [entry.subject for entry in made.allowlist()] == ["bob@example.org"]
    assert made.allow_entries == 1


@pytest.mark.parametrize("account", [f" {ALICE}", f"{ALICE}\u3000", f"\t{ALICE} "])
def test_an_account_with_spaces_around_it_is_another_one_that_is_found_and_lifted(account: str) -> None:
    given = decision(account)
    made = table(given, decision("bob@example.org"))
    assert held(made, account=account) == [account]
    assert held(made) == []
    assert held(table(decision(ALICE)), account=account) == []
    assert made.allow(f"allow:account:{ALICE}", allow(ALICE))
    assert held(made, account=account) == [account]
    assert made.apply(given.key, None)
    assert (held(made, account=account), len(made)) == ([], 1)
    made.clear()
    assert len(made) == 0
