"""What operators read from and write to the topics ``enforcement`` and ``settings``."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from pipeline.adapters.kafka.client import KafkaLog, partition_counts
from pipeline.adapters.kafka.cluster import Cluster
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.ports import Record
from schemas.codec import DecodeError, decode_decision, decode_setting
from schemas.enforcement import Decision
from schemas.setting import Setting
from schemas.topics import ENFORCEMENT, SETTINGS

T = TypeVar("T")

_WAIT = 15.0


class DecisionTopics:
    """Both topics. Every method raises BrokerUnavailable, TopicMissing and MessageRefused."""

    def __init__(self, cluster: Cluster, unreadable: Callable[[str, str, str], None]) -> None:
        """``unreadable`` is told of a message that cannot be decoded: topic, key, why."""
        self._cluster = cluster
        self._unreadable = unreadable

    def decisions(self) -> list[Decision]:
        """The last decision of each key."""
        return self._last(ENFORCEMENT.name, decode_decision)

    def allowlist(self) -> list[Setting]:
        """Every allowlist entry."""
        return self._last(SETTINGS.name, decode_setting)

    def lifted(self) -> list[dict[str, str]]:
        """Who lifted which decision or entry, when and why, as far as the topics still know."""
        found = {}
        for topic in (ENFORCEMENT.name, SETTINGS.name):
            for partition in range(partition_counts(self._cluster, [topic])[topic]):
                for record in KafkaLog(self._cluster, _WAIT).read(topic, partition, 0):
                    found[record.key] = _tombstone(record) if record.value is None else None
        return [tombstone for tombstone in found.values() if tombstone is not None]

    def write(self, topic: str, key: str, message: bytes) -> None:
        """Returns when all replicas in sync have the message."""
        with KafkaOutbox(self._cluster, _WAIT) as outbox:
            outbox.send(topic, key.encode(), message)
            outbox.flush()

    def lift(self, topic: str, keys: Sequence[str], actor: str, note: str, at: datetime) -> None:
        """Writes tombstones that say who, why and when."""
        headers = {"actor": actor, "note": note, "at": at.isoformat(timespec="seconds")}
        with KafkaOutbox(self._cluster, _WAIT) as outbox:
            for key in keys:
                outbox.send(topic, key.encode(), None, [(name, text.encode()) for name, text in headers.items()])
            outbox.flush()

    def _last(self, topic: str, decode: Callable[[bytes], T]) -> list[T]:
        found = []
        for key, value in KafkaLog(self._cluster, _WAIT).state(topic).items():
            try:
                found.append(decode(value))
            except DecodeError as error:
                self._unreadable(topic, key.decode(errors="backslashreplace"), str(error))
        return found


def _tombstone(record: Record) -> dict[str, str]:
    headers = {name: value.decode(errors="backslashreplace") for name, value in record.headers}
    key = (record.key or b"").decode(errors="backslashreplace")
    return {"key": key} | {name: headers[name] for name in ("actor", "note", "at") if name in headers}
