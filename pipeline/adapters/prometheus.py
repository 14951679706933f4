"""Measurements for Prometheus, and the port where it and a supervisor ask."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from pipeline.metrics import METRICS, MetricFamily

Health = Callable[[], Mapping[str, object]]
"""What a job says of itself, beside ``ok``: plain values, for JSON."""


class PrometheusRecorder:
    """Keeps the contract of ``pipeline.metrics.Recorder``, in a registry of its own. Safe to use from threads."""

    def __init__(self, metrics: Iterable[MetricFamily] = METRICS) -> None:
        self.registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._children: dict[tuple[str, tuple[str, ...]], Counter] = {}
        for m in metrics:
            match m.kind:
                case "counter":
                    self._counters[m.name] = Counter(m.name, m.help, m.labels, registry=self.registry)
                case "gauge":
                    self._gauges[m.name] = Gauge(m.name, m.help, m.labels, registry=self.registry)
                case "histogram":
                    self._histograms[m.name] = Histogram(
                        m.name, m.help, m.labels, registry=self.registry, buckets=m.buckets or Histogram.DEFAULT_BUCKETS
                    )

    def add(self, name: str, value: float = 1, *labels: str) -> None:
        """See ``pipeline.metrics.Recorder``."""
        child = self._children.get((name, labels))
        if child is None:
            counter = self._counters[name]
            child = self._children[name, labels] = counter.labels(*labels) if labels else counter
        child.inc(value)

    def set(self, name: str, value: float, *labels: str) -> None:
        """See ``pipeline.metrics.Recorder``."""
        gauge = self._gauges[name]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """See ``pipeline.metrics.Recorder``."""
        histogram = self._histograms[name]
        (histogram.labels(*labels) if labels else histogram).observe(value)

    def total(self, name: str) -> float:
        """What a counter has come to, over all its labels."""
        return sum(s.value for of in self._counters[name].collect() for s in of.samples if s.name == name)

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)


def metrics_app(recorder: PrometheusRecorder, health: Health) -> web.Application:
    """``/metrics``, and health as JSON, with status 503 where it is bad: ``/livez`` (if not, start it again),
    ``/readyz`` (does it do its work?), and ``/healthz``. ``health`` may say ``live``, ``ready`` and ``ok``, in that
    order; what it does not say is so as long as the process serves."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=recorder.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def asked(name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(_: web.Request) -> web.Response:
            told = dict(health())
            ok = bool(told.get(name, True))
            return web.json_response(
                told | {"ok": ok}, status=200 if ok else 503, dumps=lambda value: json.dumps(value, allow_nan=False)
            )

        return answer

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/livez", asked("live"))
    app.router.add_get("/readyz", asked("ready"))
    app.router.add_get("/healthz", asked("ok"))
    return app
