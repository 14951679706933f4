"""Hooks are served wherever their options say, and answer as these tell them to."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from pipeline.adapters.agent.serving import Given, HookServers, flags_of
from pipeline.adapters.connections import Connections
from pipeline.adapters.demo.broker import free_port
from pipeline.enforce.limiter import Limiter
from pipeline.hooks import HOOKS
from pipeline.hooks.hook import Context
from pipeline.metrics import MemoryRecorder
from pipeline.networks import no_country
from pipeline.settings import Settings
from tests.support.decisions import NOW, decision, table
from tests.unit.hooks.test_postfix import ALICE, request

KEYLESS = Settings()
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def serving(given: Given, settings: Settings = KEYLESS) -> HookServers:
    context = Context(table(decision(ALICE)), Limiter(), MemoryRecorder(), no_country, flags_of(given))
    return HookServers(context, lambda: NOW, settings, Connections(MemoryRecorder()))


async def told(streams: Streams) -> bytes:
    reader, writer = streams
    writer.write(request() + b"\n\n")
    answer = await reader.readuntil(b"\n\n")
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("flags", "refusal"),
    [({"--disconnect": True}, b"action=521 "), ({}, b"action=REJECT "), ({"--shadow": True}, b"action=DUNNO\n")],
)
def test_every_option_of_every_hook_is_obeyed(tmp_path: Path, flags: dict[str, bool], refusal: bytes) -> None:
    options = [option for hook in HOOKS for option in hook.options]
    ports = {option.name: free_port() for option in options if option.kind == "address"}
    paths = {option.name: tmp_path / option.name for option in options if option.kind == "path"}
    given: Given = {name: f"127.0.0.1:{port}" for name, port in ports.items()} | paths | flags

    async def main() -> None:
        async with serving(given) as servers:
            await servers.serve(HOOKS, given)
            for port in ports.values():
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
            assert (await told(await asyncio.open_connection("127.0.0.1", ports["--policy"]))).startswith(refusal)
            assert (await told(await asyncio.open_unix_connection(paths["--policy-unix"]))).startswith(refusal)
            asked = {"login": ALICE, "remote": "198.51.100.7", "protocol": "imap"}
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"http://127.0.0.1:{ports['--dovecot']}/?command=allow", json=asked) as response,
            ):
                assert response.status == 200
                assert "status" in await response.json(content_type=None)

    asyncio.run(main())


def test_nobody_listens_any_more_once_it_is_closed(tmp_path: Path) -> None:
    given: Given = {"--policy-unix": tmp_path / "policy"}

    async def main() -> None:
        async with serving(given) as servers:
            await servers.serve(HOOKS, given)
            assert await told(await asyncio.open_unix_connection(tmp_path / "policy"))
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            await asyncio.open_unix_connection(tmp_path / "policy")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "flags", "key", "is_served", "is_told"),
    [
        ("0.0.0.0", {}, "", False, False),
        ("0.0.0.0", {}, "secret", True, False),
        ("0.0.0.0", {"--dovecot-open": True}, "", True, True),
        ("127.0.0.1", {}, "", True, True),
        ("localhost", {}, "", True, True),
        ("[::]", {}, "", False, False),
    ],
)
def test_other_hosts_need_a_key(host: str, flags: dict[str, bool], key: str, is_served: bool, is_told: bool) -> None:
    given: Given = {"--dovecot": f"{host}:{free_port()}", **flags}

    async def main() -> None:
        async with serving(given, Settings(dovecot_api_key=key)) as servers:
            if is_served:
                await servers.serve(HOOKS, given)
            else:
                with pytest.raises(ValueError, match=r"set SEKIMORI_DOVECOT_API_KEY here .* or give --dovecot-open"):
                    await servers.serve(HOOKS, given)

    with capture_logs() as logs:
        asyncio.run(main())
    assert [log["event"] for log in logs].count("no_api_key") == is_told
