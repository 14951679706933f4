"""What a process signs, and whom it believes."""

from pathlib import Path

import pytest

from pipeline.adapters.kafka.security.access import cluster_of
from pipeline.adapters.kafka.security.keys import NO_KEYS
from pipeline.settings import Settings, SettingsError
from schemas.enforcement import SIGNATURE
from tests.support.keys import Keyring


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return Keyring(tmp_path_factory.mktemp("keys") / "ring")


def test_decisions_and_settings_are_signed_once_and_nothing_else_is(ring: Keyring) -> None:
    keys = ring.keys("detect-1")
    for topic in ("enforcement", "settings"):
        signed = keys.signed(topic, b"k", b"v", [("at", b"x")])
        assert [name for name, _ in signed] == ["at", SIGNATURE]
        assert ring.keys("operator-1").signed(topic, b"k", b"v", signed) == signed
    assert keys.signed("tallies", None, b"v", []) == []
    assert NO_KEYS.signed("enforcement", b"k", b"v", []) == []


def test_who_writes_what_nobody_would_obey_is_told_at_the_start(ring: Keyring) -> None:
    NO_KEYS.check_writer()
    ring.keys("stranger", ()).check_writer()
    ring.keys("detect-1").check_writer()
    for keys, why in ((ring.keys(), "is missing"), (ring.keys("stranger"), "stranger is not among the trusted keys")):
        with pytest.raises(SettingsError, match=f"SEKIMORI_SIGNING_KEY: {why}"):
            keys.check_writer()


def test_files_are_read_with_the_settings(ring: Keyring, tmp_path: Path) -> None:
    trusted = ring.trusting("detect-1")
    keys = cluster_of(Settings(signing_key=ring.path("detect-1"), trusted_keys=trusted)).keys
    keys.check_writer()
    assert cluster_of(Settings()).keys is NO_KEYS
    for wrong in (Settings(signing_key=trusted), Settings(trusted_keys=ring.path("detect-1"))):
        with pytest.raises(SettingsError, match=r"sekimori keys new|is no list of trusted keys"):
            cluster_of(wrong)
