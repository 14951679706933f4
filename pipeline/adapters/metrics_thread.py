"""Metrics and health of a job that has no event loop of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.adapters.http import host_port, serve_http
from pipeline.adapters.prometheus import Health, PrometheusRecorder, metrics_app


@contextmanager
def served_metrics(address: str | None, recorder: PrometheusRecorder, health: Health) -> Iterator[None]:
    """Serves ``/metrics`` and ``/healthz`` at ``host:port``, from a thread. Does nothing for None.

    Raises ValueError (no such host:port) and OSError (the address is in use).
    """
    if address is None:
        yield
        return
    host, port = host_port(address)
    loop = asyncio.new_event_loop()
    try:
        runner = loop.run_until_complete(serve_http(metrics_app(recorder, health), host, port))
        thread = threading.Thread(target=loop.run_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.run_until_complete(runner.cleanup())
    finally:
        loop.close()
