"""The enforcement agent of an MTA host: decisions from Kafka, answers to mail servers from memory."""

import asyncio
import signal
import sys
import time
from contextlib import AsyncExitStack

import structlog
import uvloop

from pipeline.adapters.agent.agent import EnforcementAgent
from pipeline.adapters.agent.operators import OperatorServer, access_of
from pipeline.adapters.agent.serving import Given, HookServers, flags_of
from pipeline.adapters.agent.sockets import SocketAccess
from pipeline.adapters.connections import Connections, raise_file_limit
from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.http import host_port, serve_http
from pipeline.adapters.prometheus import PrometheusRecorder, metrics_app
from pipeline.hooks import HOOKS
from pipeline.settings import Settings

_log = structlog.get_logger()

_TURN = 0.0005  # seconds that the thread which reads may keep a mail server waiting, at most


def run(
    settings: Settings,
    given: Given,
    *,
    metrics: str | None = None,
    clock_offset: float = 0.0,
    access: SocketAccess | None = None,
    operators: str = "",
) -> None:
    """Serves until SIGTERM or SIGINT. ``given``: the options of the hooks. ``metrics``: ``host:port``.

    ``access``: to UNIX sockets of hooks. ``operators``: the group that may ask what is in force, see ``access_of``.
    ``clock_offset``: seconds added to the wall clock. Raises ValueError (no such
    host:port, no such group), OSError (an address is in use).
    """
    recorder = PrometheusRecorder()
    geo = GeoFile(settings.geoip) if settings.geoip else None

    def clock() -> float:
        return time.time() + clock_offset

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGINT, stop.set)
        loop.add_signal_handler(signal.SIGHUP, _hang_up)
        connections = Connections(recorder, raise_file_limit())
        async with AsyncExitStack() as stack:
            agent = EnforcementAgent(settings, clock, recorder, geo=geo, flags=flags_of(given))
            await agent.start()
            stack.push_async_callback(agent.stop)
            asked = await stack.enter_async_context(OperatorServer(agent, recorder))
            await asked.listen(settings.agent_asked_at, access_of(operators))
            servers = await stack.enter_async_context(HookServers(agent.context, clock, settings, connections, access))
            await servers.serve(HOOKS, given)
            if metrics:
                app = metrics_app(recorder, agent.health)
                stack.push_async_callback((await serve_http(app, *host_port(metrics), connections)).cleanup)
            await stop.wait()

    sys.setswitchinterval(_TURN)
    uvloop.run(serve())


def _hang_up() -> None:
    """SIGHUP must not end an agent: terminals send it when they are closed, and operators to have files read again."""
    _log.info("nothing_to_reload", files="a new GeoIP file is taken within a second", decisions="come from Kafka")
