"""Who is never restricted, by the rules file or by operators."""

import pytest

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.granted import Granted
from pipeline.rules.config import Allow
from schemas.tally import Tally
from tests.support.decisions import allow as entry

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
