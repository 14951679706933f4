import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.networks import Network, no_country, parse_address, parse_network, parse_subject


@given(st.ip_addresses())
def test_an_address_is_read_as_the_standard_library_reads_it(address: ipaddress.IPv4Address) -> None:
    mapped = getattr(address, "ipv4_mapped", None) or address
    assert parse_address(str(address)) == (mapped.max_prefixlen, int(mapped))


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_prefix_holds_its_addresses_and_is_written_in_one_way(address: ipaddress.IPv4Address, length: int) -> None:
    length = min(length, address.max_prefixlen)
    if getattr(address, "ipv4_mapped", None):
        return
    wanted = ipaddress.ip_network(f"{address}/{length}", strict=False)
    network = parse_network(f"{address}/{length}")
    outside = type(address)(int(address) ^ (1 << (address.max_prefixlen - 1)))
    assert network.holds(parse_address(str(address)))
    assert network.covers(parse_network(str(address)))
    assert network.holds(parse_address(str(outside))) == (length == 0)
    assert ipaddress.ip_network(str(network)) == wanted


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4/33", "1.2.3.4/-1", "::/129", "1.2.3.4/", "::1%eth0", "1\0", "\udcff"]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no (IP address|prefix)|null|encode"):
        parse_network(text)


def test_a_mapped_address_is_the_ipv4_address() -> None:
    assert parse_network("::ffff:198.51.100.7") == parse_network("198.51.100.7")
    assert not Network(32, 32, 1).holds(parse_address("::1"))


@pytest.mark.parametrize(
    ("text", "kind", "subject"),
    [
        ("Alice@Example.ORG", "account", "alice@example.org"),
        (" 198.51.100.7 ", "ip", "198.51.100.7"),
        ("2001:DB8:0:0::26", "ip", "2001:db8::26"),
        ("2001:db8:5::9/48", "prefix", "2001:db8:5::/48"),
        ("10.1.2.3/8", "prefix", "10.0.0.0/8"),
        ("RU", "country", "RU"),
        ("Bob@example.org|2001:DB8::1", "account_ip", "bob@example.org|2001:db8::1"),
        ("a|b@example.org|198.51.100.7", "account_ip", "a|b@example.org|198.51.100.7"),
    ],
)
def test_the_form_of_a_subject_tells_its_kind(text: str, kind: str, subject: str) -> None:
    assert parse_subject(text) == (kind, subject)


def test_a_kind_that_was_said_is_obeyed() -> None:
    assert parse_subject("ru", "country") == ("country", "RU")
    assert parse_subject("info", "account") == ("account", "info")


@pytest.mark.parametrize(
    "text", ["", " ", "info", "ru", "a\nb@example.org", "|198.51.100.7", "a@b|nowhere", "1.2.3.4/99", "*"]
)
def test_other_subjects_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_subject(text)


def test_without_a_file_no_country_is_known() -> None:
    assert no_country("198.51.100.7") == ""
