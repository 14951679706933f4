"""``events``, ``dead-letters`` and ``enforcement`` -> ClickHouse."""

from pipeline.adapters.metrics_thread import served_metrics
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.adapters.stores.job import StoreJob
from pipeline.settings import Settings


def run(settings: Settings, metrics: str | None = None) -> None:
    """Works until SIGTERM or SIGINT. ``metrics``: ``host:port``.

    Raises SettingsError, StoreError (tables are missing), TopicMissing, BrokerUnavailable.
    """
    recorder = PrometheusRecorder()
    with StoreJob(settings, recorder) as job, served_metrics(metrics, recorder, job.health):
        job.run()
