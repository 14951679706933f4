"""Raw lines from ``maillog`` and ``authlog`` -> ``events``, ``dead-letters`` and ``tallies``."""

from zoneinfo import ZoneInfo

from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.adapters.streams.job import StreamJob
from pipeline.adapters.streams.watch import GeoWatch, MissedWatch, SenderWatch
from pipeline.adapters.streams.worker import Worker
from pipeline.formats.reading.around.missed import MissedLines
from pipeline.normalize.doubles import Doubles
from pipeline.normalize.normalizer import Normalizer
from pipeline.normalize.stage import NormalizeStage
from pipeline.rules.config import load
from pipeline.settings import Settings
from schemas.topics import AUTHLOG, MAILLOG, NORMALIZE_STATE


def run(settings: Settings, metrics: str | None = None) -> None:
    """Works until SIGTERM or SIGINT. ``metrics``: ``host:port``.

    Raises RulesError, GeoFileError, SettingsError, StateUnreadable.
    """
    recorder = PrometheusRecorder()
    rules, zone, zones = load(settings.rules), ZoneInfo(settings.zone), settings.named_zones()
    geo, missed = GeoFile(settings.geoip), MissedLines()

    def make(topic: str, partition: int) -> NormalizeStage:
        normalizer = Normalizer(
            rules.trusted, zones.get(topic, zone), geo, zones, fixed=topic in zones, doubles=Doubles()
        )
        return NormalizeStage(topic, partition, normalizer, settings.partitions, recorder, lambda: geo.edition, missed)

    job = StreamJob("normalize", settings, [MAILLOG, AUTHLOG], NORMALIZE_STATE, make, recorder)
    looks = GeoWatch(geo, recorder).poll, SenderWatch(recorder.total).poll, MissedWatch(missed).poll
    Worker(job, recorder, metrics, *looks).run()
