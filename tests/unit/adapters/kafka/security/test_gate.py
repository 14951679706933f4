"""What is not obeyed is told."""

import pytest
from structlog.testing import capture_logs

from pipeline.adapters.kafka.security.gate import AGAIN, Gate
from pipeline.adapters.kafka.security.keys import NO_KEYS
from pipeline.metrics import MemoryRecorder
from tests.support.keys import Keyring

KEY = "ip:ip_accused:192.0.2.7"


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return Keyring(tmp_path_factory.mktemp("keys") / "ring")


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
