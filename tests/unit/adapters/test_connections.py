"""Who only connects, or begins a request and does not end it, shuts nobody out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from pipeline.adapters import connections as module
from pipeline.adapters.agent.http_server import hook_app
from pipeline.adapters.agent.line_server import LineServer
from pipeline.adapters.connections import Connections
from pipeline.adapters.http import serve_http
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.enforce.limiter import Limiter
from pipeline.hooks import dovecot, postfix
from pipeline.hooks.hook import Context
from tests.support.decisions import NOW, decision, table
from tests.unit.hooks.test_postfix import ALICE, request

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HALF = {
    "postfix": request()[:50],
    "dovecot": b"POST /?command=allow HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
}
WHOLE = {"postfix": request() + b"\n\n", "dovecot": b"GET /?command=ping HTTP/1.1\r\nHost: x\r\n\r\n"}


class Ports:
    def __init__(self, connections: Connections, recorder: PrometheusRecorder) -> None:
        self.connections, self.recorder = connections, recorder
        self.ports: dict[str, int] = {}

    async def connect(self, hook: str, sent: bytes = b"") -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[hook])
        writer.write(sent)
        return reader, writer

    async def asks(self, hook: str, streams: Streams | None = None) -> bytes:
        reader, writer = streams or await self.connect(hook)
        writer.write(WHOLE[hook])
        return (await reader.read(4096))[:13]

    def refused(self, hook: str, why: str) -> float:
        labels = {"hook": hook, "why": why}
        return self.recorder.registry.get_sample_value("sekimori_enforce_refused_requests_total", labels) or 0.0


def served(test: Callable[[Ports], Awaitable[None]], most: int) -> None:
    async def main() -> None:
        recorder = PrometheusRecorder()
        context = Context(table(decision(ALICE)), Limiter(), recorder)
        ports = Ports(Connections(recorder, most), recorder)
        lines = LineServer(context, lambda: NOW, ports.connections)
        ports.ports["postfix"] = await lines.listen_tcp(postfix.HOOK, "127.0.0.1", 0)
        app = hook_app(dovecot.HOOK, context, lambda: NOW)
        runner = await serve_http(app, "127.0.0.1", 0, ports.connections, "dovecot")
        ports.ports["dovecot"] = runner.addresses[0][1]
        try:
            async with asyncio.timeout(20):
                await test(ports)
        finally:
            await lines.close()
            await runner.cleanup()

    uvloop.run(main())


ANSWERS = {"postfix": b"action=REJECT", "dovecot": b"HTTP/1.1 200 "}
BOTH = pytest.mark.parametrize("hook", ["postfix", "dovecot"])


@BOTH
@pytest.mark.parametrize("sent", ["half", "nothing"])
def test_many_that_wait_cost_the_oldest_of_them_their_place_and_nobody_else(hook: str, sent: str) -> None:
    async def test(ports: Ports) -> None:
        honest = await ports.connect(hook)
        assert await ports.asks(hook, honest) == ANSWERS[hook]
        waiting = [await ports.connect(hook, HALF[hook] if sent == "half" else b"") for _ in range(300)]
        assert await waiting[0][0].read() == b""
        for other in ("postfix", "dovecot"):
            assert await ports.asks(other) == ANSWERS[other]
        assert await ports.asks(hook, honest) == ANSWERS[hook]
        assert ports.refused(hook, "half") >= 300 - 64
        assert ports.refused(hook, "connections") == 0
        assert len(ports.connections) <= 100
        for _, writer in waiting:
            writer.close()

    with capture_logs() as logs:
        served(test, 100)
    assert [log["why"] for log in logs if log["event"] == "connection_closed"] == ["half"]  # told once, counted often


@BOTH
def test_a_request_that_was_begun_ends_and_so_does_an_idle_connection(
    hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(module, "IDLE_SECONDS", 3.0)

    async def test(ports: Ports) -> None:
        loop = asyncio.get_running_loop()
        begun, honest = await ports.connect(hook, HALF[hook]), await ports.connect(hook)
        assert await ports.asks(hook, honest) == ANSWERS[hook]
        started = loop.time()
        assert b"200" not in await read_to_end(begun)
        assert 0.4 < loop.time() - started < 2.9
        assert await ports.asks(hook, honest) == ANSWERS[hook]
        started = loop.time()
        assert await read_to_end(honest) == b"" or hook == "dovecot"
        assert 2.5 < loop.time() - started < 6
        assert (ports.refused(hook, "slow"), ports.refused(hook, "idle")) == (1, 1)
        assert len(ports.connections) == 0

    served(test, 100)


async def read_to_end(streams: Streams) -> bytes:
    try:
        return await streams[0].read()
    except ConnectionResetError:
        return b""


@BOTH
def test_more_than_there_may_be_are_closed_told_and_counted(hook: str) -> None:
    async def test(ports: Ports) -> None:
        kept: list[Any] = [await ports.connect(hook) for _ in range(20)]
        for streams in kept:
            assert await ports.asks(hook, streams) == ANSWERS[hook]
        assert await (await ports.connect(hook))[0].read() == b""
        assert ports.refused(hook, "connections") == 1
        kept.pop()[1].close()
        while len(ports.connections) == 20:
            await asyncio.sleep(0)
        assert await ports.asks(hook) == ANSWERS[hook]

    with capture_logs() as logs:
        served(test, 20)
    assert [log["why"] for log in logs if log["event"] == "connection_closed"] == ["connections"]
