"""Raw lines from ``maillog`` and ``authlog`` -> ``events``, ``dead-letters`` and ``tallies``."""

from zoneinfo import ZoneInfo

from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.adapters.streams.job import StreamJob
from pipeline.adapters.streams.worker import Worker
from pipeline.networks import no_country
from pipeline.normalize.normalizer import Normalizer
from pipeline.normalize.stage import NormalizeStage
from pipeline.rules.config import load
from pipeline.settings import Settings
from schemas.topics import AUTHLOG, MAILLOG, NORMALIZE_STATE


def run(settings: Settings, metrics: str | None = None) -> None:
    """Works until SIGTERM or SIGINT. ``metrics``: ``host:port``. Raises RulesError, GeoFileError, SettingsError."""
    recorder = PrometheusRecorder()
    rules, zone, zones = load(settings.rules), ZoneInfo(settings.zone), settings.named_zones()
    geo = GeoFile(settings.geoip) if settings.geoip else None

    def make(topic: str, partition: int) -> NormalizeStage:
        normalizer = Normalizer(rules.trusted, zones.get(topic, zone), geo or no_country, zones)
        return NormalizeStage(f"{topic}-{partition}", normalizer, settings.partitions, recorder)

    job = StreamJob("normalize", settings, [MAILLOG, AUTHLOG], NORMALIZE_STATE, make, recorder)

    def refresh() -> None:
        if geo is not None and geo.reload_if_changed():
            for stage in job.stages().values():
                assert isinstance(stage, NormalizeStage)
                stage.forget_places()

    Worker(job, recorder, metrics, refresh).run()
