"""The topics that a job reads: are they there, with how many partitions, and still the same?"""

import time
from collections.abc import Collection, Mapping
from contextlib import closing
from typing import Final, NamedTuple

import structlog
from faust.types import TP

from pipeline.adapters.kafka.client import KafkaLog, wait_until_up
from pipeline.adapters.kafka.found import TopicFound, committed_of, ends_of, topics_found
from pipeline.adapters.kafka.security.access import cluster_of
from pipeline.adapters.kafka.security.acls import check_access
from pipeline.adapters.streams.partitions.states import ANOTHER_NUMBER, patiently
from pipeline.metrics import Recorder
from pipeline.ports import BrokerUnavailable, TopicMissing
from pipeline.settings import Settings, SettingsError
from schemas.topics import TALLIES, Topic

SILENT: Final = 60.0  # seconds without an answer of the broker after which a job is not ready
_log = structlog.get_logger()


class TopicsNow(NamedTuple):
    """What was found. ``ends``: of the partitions that were asked for. ``others``: those whose topic is another now, or
    has more partitions; ``why`` for a log."""

    ends: Mapping[TP, int]
    others: frozenset[TP]
    why: str


class ReadTopics:
    """``names``: what the job reads; its states are on ``state_topic``. ``heard_at``: when the broker last answered, by
    the monotonic clock; ``back_at``: when it did so after a long silence."""

    def __init__(
        self, job: str, settings: Settings, topics: list[Topic], state_topic: Topic, recorder: Recorder
    ) -> None:
        self._job = job
        self.names = [topic.name for topic in topics]
        self.heard_at = self.back_at = time.monotonic()
        self._settings, self._recorder, self._state_topic = settings, recorder, state_topic.name
        self._brokers = cluster_of(settings)
        self._known: dict[str, TopicFound] = {}
        self._told: dict[str, str] = {}

    def check(self, seconds: float) -> None:
        """Waits for the broker, ``seconds`` at most, and holds the topics against the settings and one another.

        Raises BrokerUnavailable, AccessRefused, TopicMissing, SettingsError.
        """
        wait_until_up(self._brokers, seconds)
        check_access(self._brokers, self._job)
        found = topics_found(self._brokers, [*self.names, TALLIES.name, self._state_topic])
        tallies, states = found[TALLIES.name].partitions, found[self._state_topic].partitions
        if tallies != self._settings.partitions:
            raise SettingsError(
                f"{TALLIES.name} has {tallies} partitions, and SEKIMORI_PARTITIONS is {self._settings.partitions}: "
                f"set it to {tallies}"
            )
        most = max(found[name].partitions for name in self.names)
        if states < most:
            if TALLIES.name in self.names:
                raise SettingsError(
                    f"{self._state_topic} has {states} partitions, and {TALLIES.name} {most}: {ANOTHER_NUMBER}"
                )
            raise SettingsError(
                f"{self._state_topic} has {states} partitions, and needs {most}: sekimori prepare --partitions {most}"
            )
        self._known = {name: found[name] for name in self.names}
        self._heard()
        _log.info("job_started", topics=self.names, partitions={name: found[name].partitions for name in self.names})

    @patiently
    def id_of(self, topic: str) -> str:
        """The topic's id, "" if the broker tells none. Raises TopicMissing, BrokerUnavailable."""
        return topics_found(self._brokers, [topic])[topic].id

    def tell_new_life(self, topic: str, partition: int, another: bool, counted: int, start: int) -> None:
        """For operators: what is read now."""
        self._recorder.add("sekimori_stream_topics_anew_total")
        _log.warning(
            "topic_made_anew" if another else "topic_lost_its_end",
            topic=topic,
            partition=partition,
            counted_to=counted,
            reads_from=start,
            kept="what was counted before",
        )

    def look(self, positions: Mapping[TP, int]) -> TopicsNow | None:
        """Asks the broker. ``positions``: how far the partitions are worked on. None, and a warning once, if it does
        not answer, or a topic is missing."""
        try:
            found = topics_found(self._brokers, self.names)
            ends = {TP(*place): end for place, end in ends_of(self._brokers, list(positions)).items()}
            before = {tp for tp, end in ends.items() if end <= positions[tp]}
            lost = {tp for tp in before if KafkaLog(self._brokers).end(*tp) <= positions[tp]}
        except (BrokerUnavailable, TopicMissing) as error:
            self._tell("topics_not_found", error)
            return None
        self._told.pop("topics_not_found", None)
        self._heard()
        others, why = set(lost), [f"{tp.topic}, partition {tp.partition}, lost its end" for tp in sorted(lost)]
        for name, known in self._known.items():
            now = found[name]
            if known.id != now.id or known.partitions != now.partitions:
                others |= {TP(name, n) for n in range(max(known.partitions, now.partitions))}
                more = f"has {now.partitions} partitions, not {known.partitions}"
                why.append(f"{name} {'was made anew' if known.id != now.id else more}")
        return TopicsNow(ends, frozenset(others), "; ".join(why))

    def waiting(self, quiet: Collection[TP], positions: Mapping[TP, int]) -> frozenset[TP]:
        """The partitions among ``quiet`` that have a record which nobody has worked on: after the position, or after
        what was committed where none is known. Offsets alone do not tell: a transaction's end has one too.

        None that is known of, and a warning once, if the broker does not answer, or not to us.
        """
        log = KafkaLog(self._brokers)
        found = set()
        try:
            ends = ends_of(self._brokers, quiet)
            starts = {tp: positions[tp] + 1 for tp in quiet if tp in positions}
            unknown = [tp for tp in quiet if tp not in positions]
            starts |= {TP(*at): n for at, n in committed_of(self._brokers, f"sekimori-{self._job}", unknown).items()}
            for tp, start in starts.items():
                if ends.get(tp, 0) > start:
                    with closing(log.read(tp.topic, tp.partition, start)) as records:
                        if next(records, None) is not None:
                            found.add(tp)
        except (BrokerUnavailable, TopicMissing) as error:
            self._tell("waiting_not_known", error)
        else:
            self._told.pop("waiting_not_known", None)
        return frozenset(found)

    def _tell(self, what: str, error: Exception) -> None:
        """Once, until it is over or another error comes."""
        if self._told.get(what) != type(error).__name__:
            self._told[what] = type(error).__name__
            _log.warning(what, why=str(error))

    def is_silent(self) -> bool:
        """Has the broker not been heard for long?"""
        return time.monotonic() - self.heard_at > SILENT

    def _heard(self) -> None:
        now = time.monotonic()
        if now - self.heard_at > SILENT / 2:
            self.back_at = now
        self.heard_at = now
