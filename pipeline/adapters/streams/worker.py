"""Runs a streaming job as a process: signals, metrics and health, and what is to be looked at now and then."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import faust
import structlog

from pipeline.adapters.http import host_port, serve_http
from pipeline.adapters.prometheus import PrometheusRecorder, metrics_app
from pipeline.adapters.streams.job import StreamJob

WAIT = 60.0  # seconds that a broker may take to come up
LOOK = 2.0  # seconds between looks at rules and files


class Worker:
    """``looks`` read files that may have changed; they are called every two seconds, before the stages are refreshed.
    ``metrics``: ``host:port`` for /metrics and /healthz, None for none."""

    def __init__(
        self, job: StreamJob[Any], recorder: PrometheusRecorder, metrics: str | None, *looks: Callable[[], object]
    ) -> None:
        self._job, self._recorder, self._metrics, self._looks = job, recorder, metrics, looks
        job.app.task(self._look)
        if metrics:
            job.app.task(self._serve_metrics)

    def run(self) -> None:
        """Blocks until SIGTERM or SIGINT, then saves the state and leaves the group.

        Raises BrokerUnavailable if there is no broker for a minute, TopicMissing, SettingsError if the topics have
        another number of partitions than the settings say, and StateUnreadable, whenever such a state is met. Any other
        failure ends the process, with a status that is not 0.
        """
        self._job.check(WAIT)
        worker = faust.Worker(self._job.app, loglevel=logging.WARNING, redirect_stdouts=False, quiet=True)
        worker.spinner = None  # it writes control sequences, whatever standard output is
        try:
            worker.execute_from_commandline()
        except SystemExit:
            if self._job.app.unreadable is not None:
                raise self._job.app.unreadable from None
            raise

    async def _look(self) -> None:
        while not self._job.app.should_stop:
            for look in self._looks:
                look()
            self._job.refresh()
            await asyncio.sleep(LOOK)

    async def _serve_metrics(self) -> None:
        assert self._metrics is not None
        runner = await serve_http(metrics_app(self._recorder, self._health), *host_port(self._metrics))
        structlog.get_logger().info("metrics_served", address=self._metrics)
        try:
            await self._job.app.wait_for_stopped()
        finally:
            await runner.cleanup()

    def _health(self) -> dict[str, Any]:
        stages = self._job.stages()
        return {"partitions": sorted(f"{tp.topic}-{tp.partition}" for tp in stages)}
