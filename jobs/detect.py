"""``tallies`` -> windows, rules, decisions -> ``enforcement``."""

from pipeline.adapters.kafka.client import TopicReader
from pipeline.adapters.kafka.security.access import cluster_of
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.adapters.streams.job import StreamJob
from pipeline.adapters.streams.sweeper import Sweeper
from pipeline.adapters.streams.watch import AllowlistWatch, ReleaseWatch, RulesWatch
from pipeline.adapters.streams.worker import Worker
from pipeline.detect.allowlist import Allowlist
from pipeline.detect.stage import DetectStage
from pipeline.rules import RuleSet
from pipeline.settings import Settings
from schemas.topics import DETECT_STATE, ENFORCEMENT, SETTINGS, TALLIES


def run(settings: Settings, metrics: str | None = None, *, brake: bool = True) -> None:
    """Works until SIGTERM or SIGINT. ``metrics``: ``host:port``; ``brake``: see ``RulesWatch``.

    Raises RulesError, SettingsError, StateUnreadable.
    """
    recorder = PrometheusRecorder()
    watch = RulesWatch(settings.rules, settings.home, recorder, brake=brake)
    cluster = cluster_of(settings)
    cluster.keys.check_writer()
    operators = AllowlistWatch(lambda: TopicReader(cluster, [SETTINGS.name]), recorder, cluster.keys)
    lifted = ReleaseWatch(lambda: TopicReader(cluster, [ENFORCEMENT.name]), recorder, cluster.keys)

    def in_force() -> tuple[RuleSet, Allowlist]:
        return watch.rules, Allowlist(watch.rules.file.allow, lambda: operators.granted)

    def make(_: str, partition: int) -> DetectStage:
        limit = watch.rules.file.subjects_of_one(settings.partitions)
        return DetectStage(partition, settings.partitions, recorder, in_force, limit, lambda: lifted.releases)

    job = StreamJob("detect", settings, [TALLIES], DETECT_STATE, make, recorder)
    sweeper = Sweeper(cluster, recorder)
    operators.start()
    lifted.start()
    sweeper.start()
    try:
        Worker(job, recorder, metrics, watch.poll, operators.poll, lifted.poll).run()
    finally:
        operators.stop()
        lifted.stop()
        sweeper.stop()
