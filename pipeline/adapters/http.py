"""Where a process listens for HTTP, and serving there."""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any, cast

from aiohttp import ClientPayloadError, web

from pipeline.adapters.connections import Connection, Connections


def host_port(text: str) -> tuple[str, int]:
    """``127.0.0.1:10040`` or ``[::1]:10040``; port 0 is a free one. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ValueError(f"{text!r} is no host:port, such as 127.0.0.1:10040")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def serve_http(
    app: web.Application, host: str, port: int, connections: Connections | None = None, name: str = "metrics"
) -> web.AppRunner:
    """Serves ``app`` until ``cleanup`` of what is returned; port 0 takes a free one. ``connections``: limits for them,
    which they count in under ``name``. Raises OSError."""
    log = _Log(connections, name)
    runner = (
        web.AppRunner(app, **_SETTINGS, logger=log)
        if connections is None
        else _Runner(app, connections, name, logger=log)
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


_SETTINGS: dict[str, Any] = {"access_log": None, "handler_cancellation": False, "shutdown_timeout": 2.0}


class _Log(logging.Logger):
    """What the library says of requests that are no HTTP: counted, told in a line now and then, without a traceback.
    What breaks later, in a body that a hook was to read, the hook has told."""

    def __init__(self, connections: Connections | None, name: str) -> None:
        super().__init__("http", logging.WARNING)
        self.parent = logging.getLogger()
        self._connections, self._name = connections, name

    def exception(self, msg: object, *args: object, **_: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, web.RequestPayloadError | ClientPayloadError | ConnectionError):
            return
        what = " ".join(str(error).split())[:200] or repr(error)
        if self._connections is not None:
            self._connections.refuse(self._name, "unreadable", what)
        else:
            self.warning("%s: %s", self._name, what)


class _Runner(web.AppRunner):
    """Its connections are counted."""

    def __init__(self, app: web.Application, connections: Connections, name: str, **more: Any) -> None:
        super().__init__(app, **_SETTINGS, **more)
        self.connections, self.name = connections, name
        self.open: dict[asyncio.BaseTransport, Connection] = {}
        app.on_response_prepare.append(self._answered)

    @property
    def server(self) -> Any:
        """Makes the protocol of a connection."""
        make = super().server
        return None if make is None else lambda: _Counted(self, cast(Callable[[], asyncio.Protocol], make))

    async def _answered(self, request: web.Request, _: web.StreamResponse) -> None:
        connection = self.open.get(cast(asyncio.BaseTransport, request.transport))
        if connection is not None:
            self.connections.answered(connection)


class _Counted(asyncio.Protocol):
    """Stands between a connection and the protocol that answers it."""

    def __init__(self, runner: _Runner, make: Callable[[], asyncio.Protocol]) -> None:
        self._runner = runner
        self._make = make
        self._answers: asyncio.Protocol | None = None
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = Connection(self._runner.name, transport.close)
        if not self._runner.connections.opened(connection):
            transport.close()
            return
        self._transport, self._runner.open[transport] = transport, connection
        self._answers = self._make()
        self._answers.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._answers is not None and self._transport is not None:
            self._runner.connections.begins(self._runner.open[self._transport])
            self._answers.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._answers is None else self._answers.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answers is not None and self._transport is not None:
            self._runner.connections.closed(self._runner.open.pop(self._transport))
            self._answers.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._answers is not None:
            self._answers.pause_writing()

    def resume_writing(self) -> None:
        if self._answers is not None:
            self._answers.resume_writing()
