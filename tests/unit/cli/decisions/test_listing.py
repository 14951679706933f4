"""``decisions list`` asks an agent, and loads no more for it than that takes."""

import asyncio
import sys
import time
from pathlib import Path

import pytest
import uvloop

from pipeline.adapters.agent.agent import EnforcementAgent
from pipeline.adapters.agent.operators import OperatorServer, access_of
from pipeline.metrics import MemoryRecorder
from pipeline.settings import Settings
from tests.support.decisions import decision, table
from tests.support.paths import ROOT

ALICE = "alice@example.org"
PROGRAM = """
import sys
before = set(sys.modules)
from pipeline.cli import main
try:
    main(["decisions", "list", *sys.argv[1:]])
finally:
    loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
    print(*sorted(n for n in loaded - sys.stdlib_module_names if n[0] != "_"), file=sys.stderr)
"""
LOADED = "click msgspec pipeline rich schemas typing_extensions"


def run(folder: Path, *arguments: str) -> tuple[str, list[str]]:
    """The command's output and errors; an agent with one decision, which hears Kafka, answers it."""

    async def main() -> tuple[str, list[str]]:
        agent = EnforcementAgent(Settings(state_dir=folder), time.time, MemoryRecorder())
        agent.table.take(table(decision(ALICE, seconds=1e9)), decisions=True, allowlist=True)
        agent.reader.state.ready, agent.reader.state.heard_at = True, time.monotonic()
        async with OperatorServer(agent, MemoryRecorder()) as server, asyncio.timeout(60):
            assert await server.listen(folder / "agent.socket", access_of(""))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PROGRAM, *arguments),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=folder,
                env={"SEKIMORI_STATE_DIR": str(folder), "PYTHONPATH": str(ROOT)},
            )
            told, errors = await process.communicate()
            assert process.returncode == 0, errors.decode()
            return told.decode(), errors.decode().splitlines()

    return uvloop.run(main())


@pytest.mark.parametrize("arguments", [(), ("--account", ALICE)])
def test_no_client_of_kafka_is_loaded_where_an_agent_answers(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    listed, errors = run(tmp_path, *arguments)
    assert ALICE in listed
    assert errors[0].startswith(f"The agent at {tmp_path / 'agent.socket'} was asked; it heard Kafka ")
    assert errors[1:] == [LOADED]


def test_nor_where_it_knows_nothing_of_it(tmp_path: Path) -> None:
    listed, errors = run(tmp_path, "--account", "bob@example.org")
    assert listed == ""
    assert errors[1:] == ["No decision matches --account bob@example.org. There is 1 other in force.", LOADED]
