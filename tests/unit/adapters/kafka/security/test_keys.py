"""What a process signs, whom it believes, and how it tells of the others."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.adapters.kafka.security.access import cluster_of
from pipeline.adapters.kafka.security.keys import AGAIN, NO_KEYS, Gate
from pipeline.metrics import MemoryRecorder
from pipeline.settings import Settings, SettingsError
from schemas.enforcement import SIGNATURE
from tests.support.keys import Keyring

KEY = "ip:ip_accused:192.0.2.7"


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


def test_what_is_not_obeyed_is_counted_and_told_without_flooding(ring: Keyring) -> None:
    now, recorder = [0.0], MemoryRecorder()
    gate = Gate(ring.keys(), recorder, lambda: now[0])
    good, unsigned = (ring.record(name, "enforcement", KEY, b"{}") for name in ("detect-1", ""))
    strange = ring.record("stranger", "settings", "allow:ip:192.0.2.7", b"{}")
    with capture_logs() as logs:
        assert gate.passes(good)
        for _ in range(1000):
            assert not gate.passes(unsigned)
        now[0] = AGAIN
        assert gate.why_not(strange) == "it is signed with a key that is not trusted: stranger"
    assert sum(recorder.values("sekimori_signature_refusals_total", "enforcement", "unsigned")) == 1000
    assert recorder.values("sekimori_signature_refusals_total", "settings", "unknown_key") == [1]
    assert [log["since_last_told"] for log in logs] == [{"unsigned": 1}, {"unsigned": 999, "unknown_key": 1}]
    assert (logs[0]["key"], logs[0]["why"]) == (KEY, "it is not signed")


def test_without_a_list_everything_is_obeyed(ring: Keyring) -> None:
    gate = Gate(NO_KEYS, MemoryRecorder())
    assert gate.is_open
    assert gate.passes(ring.record("", "enforcement", KEY, None))
    assert not Gate(ring.keys(), MemoryRecorder()).is_open


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
