"""Runs a streaming job as a process: signals, metrics and health, and what is to be looked at now and then."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from typing import Any

import faust
import structlog

from pipeline.adapters.http import host_port, serve_http
from pipeline.adapters.prometheus import PrometheusRecorder, metrics_app
from pipeline.adapters.streams.ending import TOLD_AT_THE_END, Ending, begun, start_anew
from pipeline.adapters.streams.job import StreamJob

WAIT = 60.0  # seconds that a broker may take to come up
LOOK = 2.0  # seconds between looks at rules and files


class _Process(faust.Worker):  # type: ignore[misc]  # Faust has no types
    """From a signal on, the process has a limited time to leave, whatever its event loop does."""

    ending: Ending

    def install_signal_handlers(self) -> None:
        super().install_signal_handlers()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(
                number, lambda *_: self.ending.signalled()
            )  # the event loop gets the signal by its pipe all the same


class Worker:
    """``looks`` read files that may have changed; they are called every two seconds, before the stages are refreshed.
    ``metrics``: ``host:port`` for /metrics and health, None for none."""

    def __init__(
        self, job: StreamJob[Any], recorder: PrometheusRecorder, metrics: str | None, *looks: Callable[[], object]
    ) -> None:
        self._job, self._recorder, self._metrics, self._looks = job, recorder, metrics, looks
        job.task(self._look)
        if metrics:
            job.task(self._serve_metrics)

    def run(self) -> None:
        """Blocks until SIGTERM or SIGINT, then saves the state and leaves the group.

        Raises BrokerUnavailable if there is no broker for a minute, TopicMissing, SettingsError if the topics have
        other numbers of partitions than are needed, and StateUnreadable, whenever such a state is met. Any other
        failure is told, and ends the process with a status that is not 0. Where a topic that is read was made anew, or
        has more partitions, or nothing comes though messages wait, the process starts anew in its own place.
        """
        self._job.topics.check(WAIT)
        self._recorder.add("sekimori_stream_begun_anew_total", begun())
        worker = _Process(self._job.app, loglevel=logging.WARNING, redirect_stdouts=False, quiet=True)
        worker.ending = ending = self._job.ending
        worker.spinner = None  # it writes control sequences, whatever standard output is
        try:
            worker.execute_from_commandline()
        except SystemExit as end:
            if isinstance(ending.failure, TOLD_AT_THE_END):
                raise ending.failure from None
            if ending.failure is not None or end.code:
                ending.fail(ending.failure or worker.crash_reason or RuntimeError(f"Faust ended with {end.code}"))
                raise SystemExit(1) from None
            if ending.again:
                start_anew()
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
        """``ready``: messages are worked on as they come, and the state is saved; what is wrong stands in ``why``."""
        held, now = self._job.held(), time.monotonic()
        why = self._job.why_not_ready(now)
        live = self._job.ending.failure is None
        return {
            "ok": live and not why,
            "live": live,
            "ready": not why,
            "why": why,
            "partitions": sorted(f"{tp.topic}-{tp.partition}" for tp in held),
            "broker_heard_seconds": round(now - self._job.topics.heard_at, 1),
            "saved_seconds": round(max((now - of.saved_at for of in held.values() if of.unacked), default=0.0), 1),
        }
