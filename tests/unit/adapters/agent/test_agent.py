"""What keeps the agent's table, and what is said of it."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.adapters.agent.agent import EnforcementAgent
from pipeline.adapters.geoip import GeoFile
from pipeline.metrics import MemoryRecorder
from pipeline.settings import Settings
from tests.support.decisions import NOW, decision
from tests.support.paths import RECORDED


@pytest.mark.parametrize("knows", [False, True])
def test_a_country_that_nobody_can_be_known_to_be_from_is_told(tmp_path: Path, knows: bool) -> None:
    recorder = MemoryRecorder()
    geo = GeoFile(RECORDED / "geo.mmdb") if knows else None
    agent = EnforcementAgent(Settings(state_dir=tmp_path), lambda: NOW, recorder, geo=geo)
    with capture_logs() as logs:
        agent.tick()
        for made in (decision("BR", "country"), decision("CN", "country"), decision("alice@example.org")):
            agent.table.apply(made.key, made)
        agent.tick()
        agent.tick()
        agent.table.apply(decision("BR", "country").key, None)
        agent.tick()
    told = [log["decisions"] for log in logs if log["event"] == "countries_not_obeyed"]
    assert told == ([] if knows else [2])
    assert recorder.values("sekimori_enforce_unobeyed_countries") == ([0] * 4 if knows else [0, 2, 2, 1])
    assert agent.health()["unobeyed_countries"] == (0 if knows else 1)
