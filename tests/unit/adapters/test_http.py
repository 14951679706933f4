import pytest

from pipeline.adapters.http import host_port


@pytest.mark.parametrize(("text", "wanted"), [("127.0.0.1:10040", ("127.0.0.1", 10040)), ("[::1]:0", ("::1", 0))])
def test_addresses_are_read(text: str, wanted: tuple[str, int]) -> None:
    assert host_port(text) == wanted


@pytest.mark.parametrize("text", ["", "10040", ":10040", "x:", "x:99999", "x:-1", "x:\N{ARABIC-INDIC DIGIT ONE}"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        host_port(text)
