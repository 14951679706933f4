"""``tallies`` -> windows, rules, decisions -> ``enforcement``."""

from pipeline.adapters.kafka.client import TopicReader
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.adapters.streams.job import StreamJob
from pipeline.adapters.streams.watch import AllowlistWatch, RulesWatch
from pipeline.adapters.streams.worker import Worker
from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import Detector
from pipeline.detect.stage import DetectStage
from pipeline.settings import Settings
from schemas.topics import DETECT_STATE, SETTINGS, TALLIES


def run(settings: Settings, metrics: str | None = None) -> None:
    """Works until SIGTERM or SIGINT. ``metrics``: ``host:port``. Raises RulesError, SettingsError."""
    recorder = PrometheusRecorder()
    watch = RulesWatch(settings.rules, settings.home, recorder)
    operators = AllowlistWatch(lambda: TopicReader(settings.brokers, [SETTINGS.name]), recorder)

    def allowlist() -> Allowlist:
        return Allowlist(watch.rules.file.allow, lambda: operators.granted)

    def make(_: str, partition: int) -> DetectStage:
        limit = max(1, watch.rules.file.subjects // settings.partitions)
        return DetectStage(partition, Detector(watch.rules, allowlist(), limit), settings.partitions, recorder)

    job = StreamJob("detect", settings, [TALLIES], DETECT_STATE, make, recorder)

    def refresh() -> None:
        operators.check()
        rules = watch.poll()
        for tp, stage in job.stages().items():
            assert isinstance(stage, DetectStage)
            recorder.set("sekimori_detect_subjects", stage.detector.subjects(), str(tp.partition))
            if rules is not None:
                stage.detector.use(rules, allowlist())

    operators.start()
    try:
        Worker(job, recorder, metrics, refresh).run()
    finally:
        operators.stop()
