"""Who is never restricted, by the rules file or by operators."""

import pytest

from pipeline.detect.allowlist import GATEWAY, Allowlist
from pipeline.detect.detector import Detector
from pipeline.detect.granted import Granted
from pipeline.rules.config import Allow
from schemas.tally import Tally
from tests.support.decisions import allow as entry
from tests.support.stages import rules

AT = 1_795_485_000.0


def account() -> Tally:
    return Tally("account", "alice@x.example", "198.51.100.7", "BR", AT)


def network(subject: str = "198.51.100.7", country: str = "BR") -> Tally:
    return Tally("ip", subject, "alice@x.example", country, AT)


COUNTRY, SYSTEM = Tally("country", "BR", "", "BR", AT), Tally("system", "*", "", "", AT)
V6 = network("2001:db8:5:6::/64", "CN")


@pytest.mark.parametrize(
    ("allow", "covered", "not_covered"),
    [
        (Allow(accounts=["Alice@X.example"]), [account()], [network(), COUNTRY, SYSTEM]),
        (Allow(accounts=["bob@x.example"]), [], [account()]),
        (Allow(addresses=["198.51.100.7"]), [network()], [account(), network("198.51.100.8"), V6]),
        (Allow(addresses=["198.51.100.0/24"]), [network(), network("198.51.100.8")], [network("198.51.101.1"), V6]),
        (Allow(addresses=["2001:db8:5::/48"]), [V6], [network("2001:db8:6::/64"), network()]),
        (Allow(addresses=["2001:db8:5:6::1"]), [V6], [network("2001:db8:5:7::/64")]),
        (Allow(countries=["BR"]), [network(), COUNTRY], [account(), V6, Tally("country", "CN", "", "CN", AT)]),
    ],
)
def test_the_allowlist_of_the_rules_file(allow: Allow, covered: list[Tally], not_covered: list[Tally]) -> None:
    allowlist = Allowlist(allow)
    assert [tally for tally in covered if not allowlist.covers(tally)] == []
    assert [tally for tally in not_covered if allowlist.covers(tally)] == []


def test_what_operators_grant_counts_as_it_is_now() -> None:
    granted = Granted()
    allowlist = Allowlist(Allow(accounts=["bob@x.example"]), lambda: granted)
    assert not allowlist.covers(account())
    alice = entry("Alice@X.example")
    granted.apply(alice.key, alice)
    assert allowlist.covers(account())
    granted = Granted()
    assert not allowlist.covers(account())


@pytest.mark.parametrize(
    ("address", "accounts", "action"),
    [
        ("10.1.2.3", GATEWAY - 1, "reject"),
        ("10.1.2.3", GATEWAY, "notify"),
        ("172.18.0.1", GATEWAY, "notify"),
        ("fd00:1:2:3::/64", GATEWAY, "notify"),
        ("172.32.0.1", 50, "reject"),
        ("100.64.0.1", 50, "reject"),
    ],
)
def test_what_may_be_a_gateway_of_our_own_is_asked_about(address: str, accounts: int, action: str) -> None:
    """A single customer with a private address is restricted as any other, and so is a carrier's NAT."""
    ruleset = rules()
    by = Detector(ruleset, Allowlist(ruleset.file.allow))
    users = [f"user{n}@x.example" for n in range(accounts)]
    seen = [Tally("ip", address, user, "BR", AT, messages=1, recipients=1, successes=1) for user in users]
    spam = [Tally("ip", address, users[0], "BR", AT + n, messages=1, recipients=1, successes=1) for n in range(60)]
    found = [d for n, t in enumerate([*seen, *spam]) for d in by.count((t,), n).decisions if d.rule == "ip_send_rate"]
    assert {d.action for d in found} == {action}
    assert all(("[trusted]" in d.reason) == (action == "notify") for d in found)
