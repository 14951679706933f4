"""Countries from files of several makers, made here byte by byte."""

import struct
from pathlib import Path

import pytest

from pipeline.adapters.geoip import GeoFile, GeoFileError


def control(kind: int, size: int) -> bytes:
    return bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])


def text(value: str) -> bytes:
    return control(2, len(value)) + value.encode()


def uint(value: int) -> bytes:
    return control(6, 4) + struct.pack(">I", value)


def mapping(**items: bytes) -> bytes:
    return control(7, len(items)) + b"".join(text(key) + value for key, value in items.items())


def database(record: bytes, version: int = 4) -> bytes:
    """A MaxMind DB (format 2.0) of one node: addresses whose first bit is 1 have ``record``, others have none."""
    tree = (1).to_bytes(3, "big") + (1 + 16).to_bytes(3, "big")
    metadata = mapping(
        node_count=uint(1), record_size=uint(24), ip_version=uint(version), database_type=text("T"),
        languages=control(11, 0), binary_format_major_version=uint(2), binary_format_minor_version=uint(0),
        build_epoch=uint(1), description=mapping(),
    )  # fmt: skip
    return tree + bytes(16) + record + b"\xab\xcd\xefMaxMind.com" + metadata


@pytest.mark.parametrize(
    ("record", "country"),
    [
        (mapping(country_code=text("JP")), "JP"),
        (mapping(country=mapping(iso_code=text("BR"))), "BR"),
        (mapping(country=mapping(names=mapping())), ""),
        (mapping(country=text("Brazil")), ""),
        (mapping(country_code=text("BRA")), ""),
        (mapping(country_code=text("é")), ""),
        (mapping(country_code=uint(1)), ""),
        (text("JP"), ""),
    ],
)
def test_files_of_several_makers_are_read(tmp_path: Path, record: bytes, country: str) -> None:
    path = tmp_path / "geo.mmdb"
    path.write_bytes(database(record))
    geo = GeoFile(path)
    assert geo("198.51.100.7") == country
    assert geo("10.0.0.1") == ""
    assert geo("2001:db8::1") == ""  # the file knows IPv4 only


def test_a_replaced_file_is_read_again_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path, new = tmp_path / "geo.mmdb", tmp_path / "new.mmdb"
    path.write_bytes(database(mapping(country_code=text("JP"))))
    geo = GeoFile(path)
    assert not geo.reload_if_changed()
    edition = geo.edition
    new.write_bytes(database(mapping(country_code=text("BR"))))
    new.rename(path)
    assert geo.reload_if_changed()
    assert geo("198.51.100.7") == "BR"
    assert geo.edition != edition
    new.write_bytes(b"torn")
    new.rename(path)
    with pytest.raises(GeoFileError, match=r"geo\.mmdb: no usable MaxMind DB file"):
        geo.reload_if_changed()
    assert geo("198.51.100.7") == "BR"
    path.unlink()
    with pytest.raises(GeoFileError):
        GeoFile(path)


def test_without_a_file_no_country_is_known() -> None:
    geo = GeoFile(None)
    assert geo("198.51.100.7") == ""
    assert not geo.reload_if_changed()
