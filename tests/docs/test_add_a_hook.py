"""The page on adding a hook, followed to the letter, in a copy; then the new hook is asked over the wire."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.adapters.agent.agent import SNAPSHOT
from pipeline.adapters.agent.snapshot import write_snapshot
from pipeline.adapters.demo.broker import free_port
from tests.support.decisions import decision, table
from tests.support.pages import Checkout, blocks_of, check_out

Eventually = Callable[..., None]
PAGE = blocks_of("add-a-hook.md")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """What the page tells to do is done there, and no more."""
    made = check_out(tmp_path_factory.mktemp("checkout"))
    for number, kind in (("1. The hook", "python"), ("2. The examples", "text")):
        (heading,) = [name for name in PAGE if name.startswith(number)]
        ((language, content),) = PAGE[heading]
        assert language == kind
        made.write(heading.split("`")[1], content)
    ((_, entry),) = PAGE["3. The entry: `HOOKS` in `pipeline/hooks/__init__.py`"]
    made.add_entry("pipeline/hooks/__init__.py", "HOOKS", entry, "heron")
    return made


def test_the_new_hook_passes_every_check(copy: Checkout) -> None:
    copy.check("tests/unit/hooks", "tests/test_architecture.py", "tests/unit/adapters/agent")


def test_the_agent_answers_with_it_without_kafka(copy: Checkout, tmp_path: Path, eventually: Eventually) -> None:
    state = tmp_path / "state"
    state.mkdir()
    now = datetime.now(UTC)
    restricted = table(decision("alice@example.org", reason="stolen", id="0123456789", issued_at=now))
    write_snapshot(state / SNAPSHOT, restricted.decisions(), [], now.timestamp())
    port, metrics = free_port(), free_port()
    with agent(copy, tmp_path, f"--heron=127.0.0.1:{port}", f"--metrics=127.0.0.1:{metrics}") as alive:
        url = f"http://127.0.0.1:{port}/mail"
        eventually(lambda: alive() and answers(f"http://127.0.0.1:{metrics}/healthz"), 30, "the agent listens")
        assert post(url, {"user": "Alice@Example.org"}) == (200, {"do": "refuse", "say": "stolen [01234567]"})
        assert post(url, {"user": "bob@example.org", "ip": "198.51.100.7"}) == (200, {"do": "take"})
        assert post(url, {"ip": "198.51.100.7"})[0] == 400
        assert post(f"{url}s", {"user": "bob@example.org"})[0] == 404
        told = answers(f"http://127.0.0.1:{metrics}/metrics")
    for line in (
        b'sekimori_enforce_requests_total{answer="reject",hook="heron"} 1.0',
        b'sekimori_enforce_requests_total{answer="pass",hook="heron"} 1.0',
        b'sekimori_enforce_refused_requests_total{hook="heron",why="unreadable"} 1.0',
    ):
        assert line in told


def test_the_option_is_listed_and_enough(copy: Checkout) -> None:
    assert "--heron HOST:PORT     Heron's question before each message." in copy.run(
        "-m", "pipeline.cli", "run", "enforce", "--help"
    )
    with pytest.raises(AssertionError, match="give at least one of --policy, --policy-unix, --dovecot, --heron"):
        copy.run("-m", "pipeline.cli", "run", "enforce")


@contextmanager
def agent(copy: Checkout, folder: Path, *options: str) -> Iterator[Callable[[], bool]]:
    """The agent of the copy, with no broker to be found. Given is whether it is alive."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SEKIMORI_")} | {
        "PYTHONPATH": str(copy.root),
        "SEKIMORI_BROKERS": f"127.0.0.1:{free_port()}",
        "SEKIMORI_STATE_DIR": str(folder / "state"),
    }
    command = [sys.executable, "-m", "pipeline.cli", "run", "enforce", *options]
    with (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=copy.root, env=env, stdout=log, stderr=log)

    def alive() -> bool:
        assert process.poll() is None, (folder / "agent.log").read_text()
        return True

    try:
        yield alive
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bytes:
    """What is served there; nothing while nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except urllib.error.URLError:
        return b""


def post(url: str, body: Any) -> tuple[int, Any]:
    """Status, and the JSON of the answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
