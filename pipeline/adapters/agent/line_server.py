"""Carries line hooks (``pipeline.hooks.hook.LineHook``) to and fro, over TCP and UNIX sockets.

A client may stay connected and idle, and may send requests in any pieces, within the limits of
``adapters/connections``. What cannot be read, is too long or fails is not answered: it is logged and the connection
closed, as Postfix's protocol wants; Postfix then uses its default action.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import structlog

from pipeline.adapters.agent.sockets import SocketAccess, listen
from pipeline.adapters.connections import Connection, Connections
from pipeline.hooks.hook import Context, LineHook, RequestTooLong, refusal_of

_log = structlog.get_logger()

_BACKLOG: Final = 1024
_CRLF: Final = b"\r\n\r\n"  # the end of a request of a client that ends its lines so


class LineServer:
    """Answers from ``context``. ``connections``: those of all ports together. ``clock``: seconds since 1970 UTC."""

    def __init__(self, context: Context, clock: Callable[[], float], connections: Connections) -> None:
        self.context = context
        self.clock = clock
        self.all = connections
        self.connections: set[_Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._paths: dict[Path, int] = {}

    async def listen_tcp(self, hook: LineHook, host: str, port: int) -> int:
        """Returns the port, which is a free one if ``port`` was 0. Raises OSError."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self, hook), host, port, backlog=_BACKLOG)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def listen_unix(self, hook: LineHook, path: Path, access: SocketAccess | None = None) -> None:
        """``access``: who may connect. Raises SocketInUse, ValueError (there is no such group), OSError."""
        listener = listen(path, access or SocketAccess())
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: _Connection(self, hook), sock=listener, backlog=_BACKLOG)
        self._servers.append(server)
        self._paths[path] = path.stat().st_ino

    async def close(self) -> None:
        """Closes the listeners and, once what was answered is sent, the connections."""
        for path, inode in self._paths.items():
            if path.exists() and path.stat().st_ino == inode:  # another agent may have taken the path over
                path.unlink()
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.end()
        for server in self._servers:
            await server.wait_closed()


class _Connection(asyncio.Protocol):
    def __init__(self, server: LineServer, hook: LineHook) -> None:
        self._server = server
        self._hook = hook
        self._buffer = bytearray()
        self._scanned = 0
        self._transport: asyncio.Transport | None = None
        self._counted = Connection(hook.name, self.end)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        if not self._server.all.opened(self._counted):
            self.end()
            return
        self._server.connections.add(self)
        self._count()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.all.closed(self._counted)
        self._server.connections.discard(self)
        self._transport = None
        self._count()

    def pause_writing(self) -> None:
        if self._transport is not None:  # the client does not read its answers
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        hook, context = self._hook, self._server.context
        answers: list[bytes] = []
        for request in self._whole(data):
            try:
                if len(request) > hook.longest:
                    raise RequestTooLong(f"a request has at most {hook.longest} bytes")
                answer = hook.answer(request, context, self._server.clock())
            except Exception as error:  # noqa: BLE001  # whatever fails, the next one may be another's
                self._write(answers)
                self._refuse(refusal_of(error), str(error) or repr(error))
                return
            answers.append(answer.encode())
            if answer.outcome:
                context.recorder.add("sekimori_enforce_requests_total", 1, hook.name, answer.outcome)
        self._write(answers)
        if not self._buffer:
            self._server.all.answered(self._counted)
            return
        self._server.all.begins(self._counted)
        if len(self._buffer) >= hook.longest + len(hook.end):
            self._refuse("too_long", f"a request has at most {hook.longest} bytes")
        elif self._buffer.find(_CRLF, max(0, self._scanned - len(_CRLF))) >= 0:
            self._refuse("unreadable", "its lines end with CR LF, and LF alone is wanted")
        self._scanned = max(0, len(self._buffer) - len(hook.end) + 1)

    def _whole(self, data: bytes) -> list[bytes]:
        """The requests that ``data`` completes, mostly one; the rest stays in the buffer."""
        end = self._hook.end
        if not self._buffer and data.endswith(end) and data.find(end) == len(data) - len(end):
            return [data[: -len(end)]]
        self._buffer += data
        if self._buffer.find(end, self._scanned) < 0:
            return []
        *requests, rest = bytes(self._buffer).split(end)
        self._buffer[:] = rest
        self._scanned = 0
        return requests

    def end(self) -> None:
        """Sends what is to be sent, then closes."""
        if self._transport is not None:
            self._transport.close()

    def _count(self) -> None:
        self._server.context.recorder.set("sekimori_enforce_connections", len(self._server.connections))

    def _write(self, answers: list[bytes]) -> None:
        if answers and self._transport is not None:
            self._transport.write(b"".join(answers))

    def _refuse(self, why: str, detail: str) -> None:
        _log.warning("request_not_answered", hook=self._hook.name, why=why, detail=detail)
        self._server.context.recorder.add("sekimori_enforce_refused_requests_total", 1, self._hook.name, why)
        self.end()
