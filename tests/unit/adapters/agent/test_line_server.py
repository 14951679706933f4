"""Real sockets on loopback: what Postfix, and what anybody else who reaches the port, may send."""

import asyncio
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from pipeline.adapters.agent.line_server import LineServer
from pipeline.adapters.agent.sockets import SocketInUse
from pipeline.adapters.connections import Connections
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.enforce.limiter import Limiter
from pipeline.hooks.hook import Context
from pipeline.hooks.postfix import HOOK
from tests.support.decisions import NOW, decision, table
from tests.unit.hooks.test_postfix import ALICE, request

RESTRICTED = table(decision(ALICE))
REFUSED = request() + b"\n\n"
PASSED = request(sasl_username="bob@example.org") + b"\n\n"


class Served:
    """Postfix's hook on a free port, and what was counted."""

    def __init__(self, server: LineServer, recorder: PrometheusRecorder, port: int) -> None:
        self.server, self.recorder, self.port = server, recorder, port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def count(self, name: str, **labels: str) -> float:
        return self.recorder.registry.get_sample_value(name, labels) or 0.0


def serving(test: Callable[[Served], Awaitable[None]], max_connections: int = 100) -> None:
    async def main() -> None:
        recorder = PrometheusRecorder()
        connections = Connections(recorder, max_connections)
        server = LineServer(Context(RESTRICTED, Limiter(), recorder), lambda: NOW, connections)
        try:
            async with asyncio.timeout(10):
                await test(Served(server, recorder, await server.listen_tcp(HOOK, "127.0.0.1", 0)))
        finally:
            await server.close()

    uvloop.run(main())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_one_connection_serves_request_after_request() -> None:
    async def test(served: Served) -> None:
        reader, writer = await served.connect()
        for _ in range(50):
            writer.write(REFUSED)
            assert (await reader.readuntil(b"\n\n")).startswith(b"action=REJECT 5.7.1 alice@example.org sent")
            writer.write(PASSED)
            assert await reader.readuntil(b"\n\n") == b"action=DUNNO\n\n"
        assert served.count("sekimori_enforce_requests_total", hook="postfix", answer="reject") == 50
        assert served.count("sekimori_enforce_connections") == 1
        writer.close()
        await until(lambda: served.count("sekimori_enforce_connections") == 0)

    serving(test)


def test_requests_may_come_byte_by_byte() -> None:
    async def test(served: Served) -> None:
        reader, writer = await served.connect()
        writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in REFUSED + PASSED:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await reader.readuntil(b"\n\n")).startswith(b"action=REJECT")
        assert await reader.readuntil(b"\n\n") == b"action=DUNNO\n\n"

    serving(test)


@pytest.mark.parametrize("size", [1, 7, 100, 4096])
def test_pipelined_requests_in_pieces_of_any_size_are_answered_in_order(size: int) -> None:
    async def test(served: Served) -> None:
        reader, writer = await served.connect()
        sent = (REFUSED + PASSED + PASSED) * 20
        for start in range(0, len(sent), size):
            writer.write(sent[start : start + size])
            await writer.drain()
        found = [(await reader.readuntil(b"\n\n"))[7:13] for _ in range(60)]
        assert found == [b"REJECT", b"DUNNO\n", b"DUNNO\n"] * 20

    serving(test)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"\n\n", "unreadable"),
        (b"GET / HTTP/1.1\r\nHost: x\n\n", "unreadable"),
        (b"\x16\x03\x01\x02\x00\x01\n\n", "unreadable"),
        (request(request="other") + b"\n\n", "unreadable"),
        (b"GET / HTTP/1.0\r\n\r\n", "unreadable"),
        (request().replace(b"\n", b"\r\n") + b"\r\n\r\n", "unreadable"),
        (b"x" * (HOOK.longest + 2), "too_long"),
        (request(sasl_username="a" * 100_000) + b"\n\n", "too_long"),
        (request(sasl_username="a" * 100_000) + b"\n", "too_long"),
    ],
)
def test_garbage_is_not_answered_but_counted_and_others_are_served_on(sent: bytes, why: str) -> None:
    async def test(served: Served) -> None:
        reader, writer = await served.connect()
        writer.write(PASSED + sent)
        assert await reader.readuntil(b"\n\n") == b"action=DUNNO\n\n"
        assert await read_to_end(reader) == b""
        assert served.count("sekimori_enforce_refused_requests_total", hook="postfix", why=why) == 1
        reader, writer = await served.connect()
        writer.write(REFUSED)
        assert (await reader.readuntil(b"\n\n")).startswith(b"action=REJECT")

    serving(test)


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """A server that closes while data is under way may reset the connection."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


def test_a_name_with_nul_is_only_a_name() -> None:
    async def test(served: Served) -> None:
        reader, writer = await served.connect()
        writer.write(request(sasl_username="alice\0@example.org") + b"\n\n")
        assert await reader.readuntil(b"\n\n") == b"action=DUNNO\n\n"

    serving(test)


def test_a_client_that_reads_no_answers_is_not_read_on() -> None:
    async def test(served: Served) -> None:
        _, writer = await served.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        flood = REFUSED * 1000
        answered = -1.0
        while answered != (now := served.count("sekimori_enforce_requests_total", hook="postfix", answer="reject")):
            answered = now
            for _ in range(20):
                writer.write(flood)
                for _ in range(50):
                    await asyncio.sleep(0)
        assert writer.transport.get_write_buffer_size() > 1_000_000

    serving(test)


def test_connections_beyond_the_limit_are_closed() -> None:
    async def test(served: Served) -> None:
        first, second = await served.connect(), await served.connect()
        third, _ = await served.connect()
        assert await third.read() == b""
        assert served.count("sekimori_enforce_refused_requests_total", hook="postfix", why="connections") == 1
        first[1].close()
        await until(lambda: len(served.server.connections) == 1)
        fourth = await served.connect()
        for reader, writer in (second, fourth):
            writer.write(PASSED)
            assert await reader.readuntil(b"\n\n") == b"action=DUNNO\n\n"

    serving(test, max_connections=2)


def test_closing_sends_what_was_answered_and_ends_idle_connections() -> None:
    async def test(served: Served) -> None:
        reader, writer = await served.connect()
        writer.write(REFUSED)
        await reader.readuntil(b"\n\n")
        await served.server.close()
        assert await reader.read() == b""
        with pytest.raises(OSError, match="refused"):
            await served.connect()

    serving(test)


def test_the_unix_socket_is_for_owner_and_group_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "policy"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()

    async def test(served: Served) -> None:
        await served.server.listen_unix(HOOK, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(REFUSED)
        assert (await reader.readuntil(b"\n\n")).startswith(b"action=REJECT")
        with pytest.raises(SocketInUse, match="another process is listening"):
            await served.server.listen_unix(HOOK, path)
        await served.server.close()
        assert not path.exists()

    serving(test)


def test_a_file_in_the_place_of_the_unix_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "policy"
    path.write_text("precious")

    async def test(served: Served) -> None:
        with pytest.raises(SocketInUse, match="no socket"):
            await served.server.listen_unix(HOOK, path)

    serving(test)
    assert path.read_text() == "precious"
