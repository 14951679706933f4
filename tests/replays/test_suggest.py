"""``sekimori suggest``: a rules file, and the same limits wherever they are asked for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.adapters.stores.chdb_store import ChdbStore
from pipeline.adapters.trials.suggest import COLUMNS, suggested_limits
from pipeline.analysis.query import covered
from pipeline.rules.config import load
from tests.support.cases import prepare
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("recorded"))


def sekimori(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_suggestions_are_a_rules_file(place: Path) -> None:
    arguments = ("suggest", "mail.log", "dovecot.log", "--geoip", "geo.mmdb", "--cases", "cases.jsonl")
    done = sekimori(place, *arguments, "--false-positives", "1/10", "--rule", "account_send_rate")
    (place / "suggested.toml").write_text(done.stdout)
    limits = load(place / "suggested.toml").rules["account_send_rate"].limits
    assert limits["home"] != load(None).rules["account_send_rate"].limits["home"]
    assert "Fewer than 7 days" in " ".join(done.stderr.split())
    rows = [json.loads(line) for line in sekimori(place, *arguments, "--json").stdout.splitlines()]
    assert {row["certainty"] for row in rows} == {"too little data"}  # for one in 10,000, on 150 seconds
    assert len({row["rule"] for row in rows}) == 14


@pytest.mark.parametrize("budget", ["1/10", "1/10000"])
def test_a_notebook_is_told_what_the_command_says(place: Path, budget: str) -> None:
    folder = place / "analysis"
    sekimori(place, "load", "mail.log", "dovecot.log", "--geoip", "geo.mmdb", "--into", str(folder))
    said = sekimori(place, "suggest", "--stored", str(folder), "--false-positives", budget, "--json").stdout
    upper, _, lower = budget.partition("/")
    with ChdbStore(folder) as store:
        frame = suggested_limits(store, covered(store), int(upper) / int(lower))
    assert list(frame.columns) == COLUMNS
    expected = []
    for one in map(json.loads, said.splitlines()):
        limit, sure = one["limit"], one["certainty"] != "too little data"
        expected.append(
            {
                **{
                    name: one[name]
                    for name in ("rule", "kind", "group", "most", "reached", "subject_days", "certainty")
                },
                **{"metric": limit["metric"], "minutes": limit["window"] / 60, "in_force": limit["count"]},
                "suggested": one["count"] if sure else limit["count"],
                **{name: one[name] if sure else None for name in ("low", "high")},
            }
        )
    assert len(expected) > 40
    assert any(row["certainty"] == "rough" for row in expected) == (budget == "1/10")
    assert json.loads(frame.to_json(orient="records")) == [{name: row[name] for name in COLUMNS} for row in expected]
