"""The demo with logs of one's own: jobs without the brake, and what it would hold."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.waves import CUSTOMERS, LIMITS, WILD, rules, wave


def shown(folder: Path, text: str) -> str:
    env = os.environ | {"PYTHONPATH": str(ROOT), "SEKIMORI_RULES": str(rules(folder, text)), "COLUMNS": "200"}
    command = [sys.executable, "-m", "pipeline.cli", "demo", str(wave(folder))]
    run = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_nothing_is_held_and_what_would_be_is_told(tmp_path: Path) -> None:
    told = shown(tmp_path, WILD)
    held = CUSTOMERS - 12
    assert f"events, {CUSTOMERS} decisions." in told
    assert (
        f"the brake would have held {held} decisions (on 4 partitions, each for itself); here it holds nothing:" in told
    )
    assert f"account_send_rate: {held} subjects, first at 2026-11-26 01:0" in told
    assert "(shadow)" not in told
    assert "brake" not in shown(tmp_path, f"[brake]\nhourly = 0\n{LIMITS}")
