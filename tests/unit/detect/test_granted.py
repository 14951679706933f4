"""What operators allow: detector and agent get the same answer from it, whatever was written and lifted before."""

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detect.granted import Granted
from pipeline.networks import no_country, parse_address
from schemas.kinds import SubjectKind
from schemas.setting import Setting
from schemas.tally import Tally
from tests.support.decisions import AT, NOW, allow

ALICE = "alice@example.org"
V4, V6 = "198.51.100.7", "2001:db8:5:6::99"


def tally(kind: Any, subject: str, country: str = "", at: float = NOW) -> Tally:
    return Tally(kind, subject, "", country, at)


def granted(*entries: Setting) -> Granted:
    made = Granted()
    for entry in entries:
        made.apply(entry.key, entry)
    return made


@pytest.mark.parametrize(
    ("kind", "subject", "covered"),
    [
        ("account", "Alice@Example.org", tally("account", ALICE)),
        ("ip", V4, tally("ip", V4)),
        ("ip", f"::ffff:{V4}", tally("ip", V4)),
        ("ip", V6, tally("ip", "2001:db8:5:6::/64")),
        ("ip", "2001:DB8:5:6::/64", tally("ip", "2001:db8:5:6::/64")),
        ("prefix", "2001:db8:5:6:7::/80", tally("ip", "2001:db8:5:6::/64")),
        ("prefix", "198.51.100.0/24", tally("ip", V4)),
        ("prefix", "0.0.0.0/0", tally("ip", V4)),
        ("prefix", "2001:db8::/32", tally("ip", "2001:db8:5:6::/64")),
        ("country", "br", tally("ip", V4, "BR")),
        ("country", "BR", tally("country", "BR", "BR")),
    ],
)
def test_an_entry_covers_its_tallies_until_it_ends_or_is_lifted(
    kind: SubjectKind, subject: str, covered: Tally
) -> None:
    entry = allow(subject, kind)
    made = granted(entry)
    assert made.covers(covered)
    assert not made.covers(tally("account", "bob@example.org"))
    assert not made.covers(tally("ip", "203.0.113.1", "CN")) or subject == "0.0.0.0/0"
    assert not made.covers(tally("ip", "2001:db8:5:7::/64", "CN")) or subject == "2001:db8::/32"
    assert not made.covers(tally("system", "*"))
    assert made.apply(entry.key, None)
    assert not made.covers(covered)
    assert (len(made), made.apply(entry.key, None)) == (0, False)
    ended = allow(subject, kind, expires_at=AT)
    assert made.apply(ended.key, ended)
    assert not made.covers(covered)


def test_an_entry_written_with_capitals_is_gone_when_it_is_lifted_by_its_key() -> None:
    entry = allow("Alice@Example.org")
    made = granted(entry)
    assert made.covers(tally("account", ALICE))
    assert made.covers_client(NOW, ALICE, None, "", no_country)
    made.apply("allow:account:Alice@Example.org", None)
    assert not made.covers(tally("account", ALICE))
    assert not made.covers_client(NOW, ALICE, None, "", no_country)


def test_each_spelling_holds_until_it_is_lifted_itself() -> None:
    made = granted(allow("Alice@Example.org"), allow(ALICE))
    assert made.apply(f"allow:account:{ALICE}", None)
    assert made.covers(tally("account", ALICE))
    assert made.apply("allow:account:Alice@Example.org", None)
    assert not made.covers(tally("account", ALICE))


def test_the_end_is_event_time_for_tallies_and_the_hooks_time_for_clients() -> None:
    made = granted(allow("198.51.100.0/24", "prefix", expires_at=AT + timedelta(hours=1)))
    assert made.covers(tally("ip", V4, at=NOW + 3599.9))
    assert not made.covers(tally("ip", V4, at=NOW + 3600))
    client = parse_address(V4)
    assert made.covers_client(NOW + 3599.9, ALICE, client, V4, no_country)
    assert not made.covers_client(NOW + 3600, ALICE, client, V4, no_country)


def test_an_older_entry_does_not_replace_a_newer_one() -> None:
    made = granted(allow(ALICE))
    older = allow(ALICE, issued_at=AT - timedelta(seconds=1), expires_at=AT)
    assert not made.apply(older.key, older)
    assert made.covers(tally("account", ALICE))


@pytest.mark.parametrize(
    ("key", "subject", "kind"),
    [
        ("", ALICE, "account"),
        ("allow", ALICE, "account"),
        ("deny:account:x", ALICE, "account"),
        ("allow:nobody:x", ALICE, "account"),
        ("allow:account:bob@example.org", ALICE, "account"),
        (None, "no address", "ip"),
        (None, "198.51.100.0/99", "prefix"),
        (None, "Brazil", "country"),
        (None, "*", "system"),
        (None, "x" * 2000, "account"),
        (None, f"{ALICE}|office", "account_ip"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_and_changes_nothing(key: str | None, subject: str, kind: Any) -> None:
    made, entry = granted(allow("bob@example.org")), allow(subject, kind)
    with pytest.raises(ValueError, match=r"\w"):
        made.apply(entry.key if key is None else key, entry)
    assert [e.subject for e in made.entries()] == ["bob@example.org"]


def test_a_copy_does_not_change_with_the_original() -> None:
    made = granted(allow(ALICE), allow(V6, "ip"))
    copied = made.copy()
    for entry in made.entries():
        made.apply(entry.key, None)
    assert (len(made), len(copied)) == (0, 2)
    assert copied.covers(tally("ip", "2001:db8:5:6::/64"))


# --- against a plain dictionary -------------------------------------------------------------------------------------

SUBJECTS: tuple[tuple[SubjectKind, str], ...] = (
    ("account", ALICE),
    ("account", "ALICE@example.org"),
    ("ip", V4),
    ("ip", V6),
    ("ip", "2001:db8:5:6::/64"),
    ("prefix", f"{V4}/32"),
    ("prefix", "198.51.100.0/25"),
    ("prefix", "2001:db8:5:6:8000::/66"),
    ("prefix", "2001:DB8:5::/48"),
    ("prefix", "2001:db8:5:6::1/128"),
    ("country", "BR"),
    ("country", "br"),
    ("account_ip", f"{ALICE}|{V4}"),
)
MESSAGES = st.lists(st.tuples(st.sampled_from(SUBJECTS), st.integers(0, 3), st.booleans()), max_size=30)
CLIENTS = ((ALICE, V4), (ALICE, V6), ("bob@example.org", V4), ("bob@example.org", "2001:db8:5:6::1"), (ALICE, ""))


@given(MESSAGES, st.integers(0, 3))
def test_it_agrees_with_a_plain_dictionary(messages: list[Any], later: int) -> None:
    made, model = Granted(), dict[str, Setting]()
    for (kind, subject), seconds, lifted in messages:
        entry = allow(subject, kind, expires_at=AT + timedelta(seconds=seconds))
        changed = model.get(entry.key) != (None if lifted else entry)
        if lifted:
            model.pop(entry.key, None)
        else:
            model[entry.key] = entry
        assert made.apply(entry.key, None if lifted else entry) == changed
    assert {e.key: e for e in made.entries()} == model
    at = NOW + later
    living = [e for e in model.values() if e.expires_at is not None and e.expires_at > datetime.fromtimestamp(at, UTC)]
    for asked in (
        tally("account", ALICE, at=at),
        tally("country", "BR", "BR", at),
        tally("ip", V4, at=at),
        tally("ip", V4, "BR", at),
        tally("ip", "198.51.100.200", at=at),
        tally("ip", "2001:db8:5:6::/64", at=at),
        tally("ip", "2001:db8:5:7::/64", at=at),
        tally("ip", "2001:db8:6::/64", "BR", at),
    ):
        assert made.covers(asked) == any(_names(e, asked) for e in living)
    for account, address in CLIENTS:
        client = parse_address(address) if address else None
        expected = any(_is(e, account, address) for e in living)
        assert made.covers_client(at, account, client, address, lambda a: "BR") == expected


def _names(entry: Setting, asked: Tally) -> bool:
    if entry.subject_kind == "account":
        return asked.kind == "account" and entry.subject.lower() == asked.subject
    if entry.subject_kind == "country":
        return asked.kind in {"country", "ip"} and asked.country == entry.subject.upper()
    if entry.subject_kind == "account_ip" or asked.kind != "ip":
        return False
    one, other = ipaddress.ip_network(entry.subject), ipaddress.ip_network(asked.subject)
    return one.version == other.version and one.overlaps(other)


def _is(entry: Setting, account: str, address: str) -> bool:
    if entry.subject_kind == "account":
        return entry.subject.lower() == account
    if not address:
        return False
    if entry.subject_kind == "country":
        return entry.subject.upper() == "BR"
    if entry.subject_kind == "account_ip":
        return entry.subject == f"{account}|{address}"
    return ipaddress.ip_address(address) in ipaddress.ip_network(entry.subject)
