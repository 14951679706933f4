"""The enforcement agent of an MTA host: decisions from Kafka, answers to Postfix and Dovecot from memory."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from pipeline.adapters.agent.agent import EnforcementAgent
from pipeline.adapters.agent.http_policy import auth_policy_app, serve_http
from pipeline.adapters.agent.policy_server import PolicyServer, host_port
from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.prometheus import PrometheusRecorder, metrics_app
from pipeline.settings import Settings


def run(
    settings: Settings,
    *,
    policy_tcp: str | None = None,
    policy_unix: Path | None = None,
    dovecot: str | None = None,
    metrics: str | None = None,
    clock_offset: float = 0.0,
    api_key: str = "",
    disconnect: bool = False,
) -> None:
    """Serves until SIGTERM or SIGINT. ``policy_tcp``, ``dovecot``, ``metrics``: ``host:port``.

    ``clock_offset``: seconds added to the wall clock. ``disconnect``: a refusal also ends the SMTP session.
    Raises ValueError (no such host:port), OSError (an address is in use), RuntimeError (decisions are no longer read).
    """
    recorder = PrometheusRecorder()
    geo = GeoFile(settings.geoip) if settings.geoip else None

    async def serve() -> None:
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        async with AsyncExitStack() as stack:
            agent = EnforcementAgent(
                settings, lambda: time.time() + clock_offset, recorder, geo=geo, disconnect=disconnect
            )
            agent.start()
            stack.push_async_callback(agent.stop)
            policy = PolicyServer(agent.judge_mail, recorder)
            stack.push_async_callback(policy.close)
            if policy_tcp:
                await policy.listen_tcp(*host_port(policy_tcp))
            if policy_unix:
                await policy.listen_unix(policy_unix)
            login, health = auth_policy_app(agent.judge_login, recorder, api_key), metrics_app(recorder, agent.health)
            for app, address in ((login, dovecot), (health, metrics)):
                if address:
                    stack.push_async_callback((await serve_http(app, *host_port(address))).cleanup)
            await agent.until(stop)

    uvloop.run(serve())
