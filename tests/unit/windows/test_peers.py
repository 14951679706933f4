import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.networks import network
from pipeline.windows.peers import NOBODY, digest, pack_network, unpack_network


@given(st.ip_addresses())
def test_ipv4_counts_by_address_and_ipv6_by_64(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    counted = network(str(address))
    if address.version == 4:
        assert counted == str(address)
    else:
        assert ipaddress.ip_network(counted).prefixlen == 64
        assert address in ipaddress.ip_network(counted)


@given(st.ip_addresses())
def test_networks_fit_in_eight_bytes(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    counted = network(str(address))
    packed = pack_network(counted)
    assert len(packed) == 8
    if address.version == 4 or not packed.startswith(b"\0\0\xff\xff"):
        assert unpack_network(packed) == counted


@pytest.mark.parametrize(
    "text", ["", "x", "1.2.3", "1.2.3.4.5", "256.1.1.1", "198.51.100.0/24", "2001:db8::/48", "::1%eth0", "1.2.3.4\n"]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is neither an IPv4 address nor an IPv6 /64"):
        pack_network(text)


@given(st.text(max_size=30), st.text(max_size=30))
def test_names_have_digests(one: str, other: str) -> None:
    assert len(digest(one)) == 8
    assert (digest(one) == digest(other)) == (one == other)
    assert digest(one) != NOBODY
