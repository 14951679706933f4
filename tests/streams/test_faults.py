"""The short form of ``make faults``."""

from pathlib import Path

import pytest

from tests.faults.campaign import Round

FAULTS, SEED = 15, 20261126


@pytest.mark.servers
def test_after_faults_by_chance_all_is_as_if_none_had_been(tmp_path: Path) -> None:
    one = Round(tmp_path, SEED, FAULTS)
    verdict = one.run()
    assert verdict.wrong == dict.fromkeys(verdict.wrong, 0)
    assert one.faults.total() == FAULTS
    assert verdict.lines > 4000
    assert verdict.decisions > 50
