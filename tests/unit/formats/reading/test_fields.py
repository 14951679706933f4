"""An address has one way to be written, whatever a server wrote: the standard library's, for all of them."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.formats.reading.fields import CANONICAL_IP
from pipeline.networks import ipv6_text, network


def model(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


PACKED = st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF, 0x0DB8, 0xC000]), min_size=8, max_size=8).map(
    lambda groups: b"".join(group.to_bytes(2, "big") for group in groups)
)
WRITTEN = PACKED.map(ipaddress.IPv6Address).flatmap(
    lambda address: st.sampled_from([str(address), address.exploded, str(address).upper(), f"{address}%eth0"])
)
ALMOST = st.text("0123456789abcdefABCDEF:.%/ g\0", max_size=45)


@given(st.one_of(WRITTEN, ALMOST, st.text(max_size=20), st.ip_addresses().map(str)))
@example("::1.2.3.4")
@example("::ffff:1.2.3.4")
@example("::ffff:0:1.2.3.4")
@example("::ffff:01.2.3.4")
@example("1.2.3.4%eth0")
@example("01.2.3.4")
@example("1:2:3:4:5:6:7::")
@example("::1:2:3:4:5:6:7:8")
@example("::1%")
@example("\udcff::1")
def test_an_address_is_written_as_the_standard_library_writes_it(text: str) -> None:
    assert CANONICAL_IP[text] == model(text)


@given(PACKED)
@example(bytes(16))
@example(bytes(12) + b"\1\2\3\4")
@example(bytes(10) + b"\xff\xff\1\2\3\4")
@example(bytes(8) + b"\xff\xff\0\0\1\2\3\4")
def test_the_bytes_of_an_address_too(packed: bytes) -> None:
    assert ipv6_text(packed) == str(ipaddress.IPv6Address(packed))
    base = ipaddress.IPv6Network((int.from_bytes(packed[:8] + bytes(8), "big"), 64))
    assert network(str(ipaddress.IPv6Address(packed))) == str(base)


@pytest.mark.parametrize("text", ["", "unknown", "1" * 65, "::1" * 30])
def test_what_is_no_address_is_none(text: str) -> None:
    assert CANONICAL_IP[text] is None
