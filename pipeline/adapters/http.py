"""Where a process listens for HTTP, and serving there."""

from aiohttp import web


def host_port(text: str) -> tuple[str, int]:
    """``127.0.0.1:10040`` or ``[::1]:10040``; port 0 is a free one. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ValueError(f"{text!r} is no host:port, such as 127.0.0.1:10040")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def serve_http(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Serves ``app`` until ``cleanup`` of what is returned; port 0 takes a free one. Raises OSError."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=False, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner
