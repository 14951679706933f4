import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.networks import Network, Subject, no_country, parse_address, parse_network, parse_subject
from pipeline.subjects import concerns, is_same, subject_of_key
from schemas.enforcement import decision_key


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


def close_by(bits: int) -> st.SearchStrategy[Subject]:
    """Addresses and prefixes of which many lie in one another."""
    base = int(ipaddress.ip_address("198.51.100.0" if bits == 32 else "2001:db8::"))
    lengths = st.sampled_from((8, 24, 31, 32) if bits == 32 else (32, 48, 63, 64, 65, 128))
    numbers = st.sampled_from((0, 1, 2, 255, 256, (1 << bits // 2) + 1)).map(lambda n: base ^ n)
    return st.builds(lambda n, length: parse_subject(str(_cut(bits, n, length))), numbers, lengths)


def _cut(bits: int, number: int, length: int) -> Network:
    return Network(bits, length, number >> (bits - length))


@given(st.sampled_from((32, 128)).flatmap(lambda bits: st.tuples(close_by(bits), close_by(bits))))
def test_a_network_concerns_who_lies_in_it_and_an_ipv6_address_is_its_64(pair: tuple[Subject, Subject]) -> None:
    (_, outer), (_, inner) = pair
    around, within = ipaddress.ip_network(outer), ipaddress.ip_network(inner)
    lies_within = within.version == around.version and within.subnet_of(around)  # type: ignore[arg-type]  # the same
    assert concerns(*pair) == lies_within
    single_source = within.version == 6 and (around.prefixlen, within.prefixlen) == (64, 128)
    assert is_same(*pair) == (around == within or (single_source and lies_within))


@pytest.mark.parametrize(
    ("subject", "wanted", "of_interest"),
    [
        (("account_ip", "a@b.example|198.51.100.7"), ("account", "a@b.example"), True),
        (("account_ip", "a@b.example|198.51.100.7"), ("ip", "198.51.100.7"), True),
        (("account_ip", "a@b.example|198.51.100.7"), ("account_ip", "a@b.example|198.51.100.7"), True),
        (("account_ip", "a@b.example|198.51.100.7"), ("account", "c@b.example"), False),
        (("account", "a@b.example"), ("account", "a@b.example"), True),
        (("account", "a@b.example"), ("country", "RU"), False),
        (("country", "RU"), ("ip", "198.51.100.7"), False),
        (("ip", "no address"), ("ip", "198.51.100.7"), False),
        (("ip", "no address"), ("ip", "no address"), True),
    ],
)
def test_what_is_of_interest_to_who_asks(subject: Subject, wanted: Subject, of_interest: bool) -> None:
    assert concerns(subject, wanted) == of_interest
    assert is_same(subject, wanted) == (subject == wanted)


def test_the_keys_of_both_topics_tell_their_subject() -> None:
    subject: Subject = ("prefix", "2001:db8:5::/48")
    assert subject_of_key(decision_key(subject[0], "manual", subject[1])) == subject
    assert subject_of_key(f"allow:{subject[0]}:{subject[1]}") == subject
    assert subject_of_key("allow:nobody:x") is subject_of_key("nobody:manual:x") is subject_of_key("x") is None


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (("account", "Alice@Example.org"), ("account", "alice@example.org")),
        (("country", "br"), ("country", "BR")),
        (("account_ip", "Alice@Example.org|2001:DB8::1"), ("account_ip", "alice@example.org|2001:db8::1")),
    ],
)
def test_a_subject_is_found_however_others_have_written_it(written: Subject, wanted: Subject) -> None:
    assert is_same(written, wanted)
    assert concerns(written, wanted)
    assert not is_same(written, ("account", "bob@example.org"))
    assert not concerns(written, ("account", "bob@example.org"))


def test_without_a_file_no_country_is_known() -> None:
    assert no_country("198.51.100.7") == ""
