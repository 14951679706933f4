"""The commands of ``docs/tuning.md`` do what the page says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.rules.config import load as load_rules
from pipeline.trials.cases import parse_cases
from tests.support.cases import prepare
from tests.support.paths import ROOT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every block of the page was written, or run, in its order."""
    folder = prepare(tmp_path_factory.mktemp("tuning"))
    command = folder / "bin" / "sekimori"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipeline.cli "$@"\n')
    command.chmod(0o755)
    env = os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for language, text in BLOCK.findall(PAGE):
        if language == "sh":
            script = f"set -e\n{text}"
            done = subprocess.run(
                ["/bin/sh", "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{text}{done.stderr}"
        else:
            first, _, rest = text.partition("\n")
            (folder / first.removeprefix("# ")).write_text(rest)
    return folder


def test_every_block_is_known() -> None:
    assert {language for language, _ in BLOCK.findall(PAGE)} == {"sh", "csv", "toml"}
    assert PAGE.count("```") == 2 * len(BLOCK.findall(PAGE))


def test_the_files_that_come_out_are_right(place: Path) -> None:
    assert [case.label for case in parse_cases((place / "known.csv").read_text(), "known.csv")].count("honest") == 3
    assert "account_send_rate" in (place / "suggested.toml").read_text()
    load_rules(place / "suggested.toml")
    assert "<svg" in (place / "report.html").read_text()


def test_enforcing_what_was_in_the_shadow_adds_and_removes(place: Path) -> None:
    changes = json.loads((place / "difference.json").read_text())["changes"]
    modes = {(c["kind"], (c["before"] or c["after"])["mode"]) for c in changes if c["kind"] in ("added", "removed")}
    assert ("added", "enforce") in modes
    assert ("removed", "shadow") in modes


def test_every_option_of_the_page_exists() -> None:
    from pipeline.cli.backtest import backtest
    from pipeline.cli.load import load
    from pipeline.cli.suggest import suggest

    known = {name for command in (backtest, suggest, load) for parameter in command.params for name in parameter.opts}
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= known
