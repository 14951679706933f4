"""The README is a promise: every command in it runs, in its order, on a real broker."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.rules.config import load
from tests.support.cluster import RECORDED, wait_for
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.+)$", README, re.MULTILINE)
LASTING = ("run", "--follow")  # commands that go on until they are told to stop
EMBEDDED = pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)


@pytest.fixture
def place(tmp_path: Path, fresh_broker: EmbeddedBroker) -> tuple[Path, dict[str, str]]:
    """A folder with the files that the README speaks of, and an environment with the command on the path."""
    for name in ("mail.log", "dovecot.log"):
        (tmp_path / name).write_bytes((RECORDED / name).read_bytes())
    (tmp_path / "country.mmdb").write_bytes((RECORDED / "geo.mmdb").read_bytes())
    (tmp_path / "my-rules.toml").write_text(_toml(), encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEKIMORI_")} | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SEKIMORI_BROKERS": fresh_broker.bootstrap,
        "SEKIMORI_STATE_DIR": str(tmp_path / "state"),
    }
    return tmp_path, env


def _toml() -> str:
    found = re.search(r"```toml\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.servers
def test_make_demo_shows_a_passing_and_a_refused_mail() -> None:
    run = subprocess.run(["make", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"news01@testbed.example \(nothing against it\)\n +-> DUNNO\n", run.stdout)
    assert re.search(r"victim01@testbed.example \(stopped from sending\)\n +-> REJECT 5\.7\.1 ", run.stdout)
    shown = re.search(r"```text\n([\d,]+ events, \d+ decisions)", README)
    assert shown is not None
    assert shown[1] in run.stdout, "the README shows another number of decisions"


def test_make_test_is_what_ci_runs() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@EMBEDDED
def test_every_command_runs(place: tuple[Path, dict[str, str]]) -> None:
    folder, env = place
    lasting: list[subprocess.Popen[bytes]] = []
    try:
        for command in COMMANDS:
            words = shlex.split(command)
            if words[0] == "make":
                continue
            if words[1:2] == ["decisions"] and not (folder / "blocked").exists():
                block = "sekimori decisions block alice@example.org --for 1h --note test"
                subprocess.run(shlex.split(block), env=env, check=True, capture_output=True)
                (folder / "blocked").touch()
            if any(word in words for word in LASTING):
                log = folder / f"{len(lasting)}.out"
                with log.open("wb") as out:
                    lasting.append(subprocess.Popen(words, cwd=folder, env=env, stdout=out, stderr=out))
                continue
            run = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)
            assert run.returncode == 0, f"{command}:\n{run.stdout}{run.stderr}"
            assert run.stdout or run.stderr, f"{command} says nothing"
        assert len(lasting) == 4
        for n, process in enumerate(lasting):
            assert process.poll() is None, (folder / f"{n}.out").read_text()
    finally:
        for process in lasting:
            process.send_signal(signal.SIGTERM)
        for process in lasting:
            wait_for(lambda ending=process: ending.poll() is not None, "a job to end", 40)
    for n, process in enumerate(lasting):
        assert process.returncode == 0, (folder / f"{n}.out").read_text()


def test_the_rules_example_is_right(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(_toml(), encoding="utf-8")
    assert load(tmp_path / "my.toml").rules["foreign_senders"].mode == "shadow"


def test_files_that_the_readme_names_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), f"README links to {target}"
