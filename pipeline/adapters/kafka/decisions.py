"""What operators read from and write to the topics ``enforcement`` and ``settings``."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypeVar

from pipeline.adapters.kafka.client import KafkaLog, partition_counts
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.security.connecting import servers
from pipeline.enforce.sweep import is_over
from pipeline.ports import Record
from schemas.codec import DecodeError, decode_decision, decode_setting
from schemas.enforcement import HELD, OVER, Decision
from schemas.setting import Setting
from schemas.topics import ENFORCEMENT, SETTINGS

T = TypeVar("T")

_WAIT = 15.0


class DecisionTopics:
    """Both topics. Every method raises BrokerUnavailable, TopicMissing and MessageRefused."""

    def __init__(self, brokers: str, unreadable: Callable[[str, str, str], None]) -> None:
        """``unreadable`` is told of a message that cannot be decoded: topic, key, why. Raises ValueError for brokers
        that are no host:port."""
        servers(brokers)
        self._brokers = brokers
        self._unreadable = unreadable

    def decisions(self, now: datetime | None = None) -> list[Decision]:
        """The last decision of each key, with ``now`` those that are not over then: the others are neither kept nor
        decoded, however many they are."""
        if now is None:
            return self._last(ENFORCEMENT.name, decode_decision)
        at, last = now.timestamp(), dict[bytes, bytes]()
        for partition in range(partition_counts(self._brokers, [ENFORCEMENT.name])[ENFORCEMENT.name]):
            for record in KafkaLog(self._brokers, _WAIT).read(ENFORCEMENT.name, partition, 0):
                if record.value is None or is_over(record.value, at):
                    last.pop(record.key or b"", None)
                else:
                    last[record.key or b""] = record.value
        return self._decoded(ENFORCEMENT.name, last, decode_decision)

    def allowlist(self) -> list[Setting]:
        """Every allowlist entry."""
        return self._last(SETTINGS.name, decode_setting)

    def lifted(self) -> list[dict[str, str]]:
        """Who lifted which decision or entry, when and why, as far as the topics still know.

        What was only swept because its time was over is left out.
        """
        found = {}
        for topic in (ENFORCEMENT.name, SETTINGS.name):
            for partition in range(partition_counts(self._brokers, [topic])[topic]):
                for record in KafkaLog(self._brokers, _WAIT).read(topic, partition, 0):
                    lifted = record.value is None and not any(name == OVER for name, _ in record.headers)
                    found[record.key] = _tombstone(record) if lifted else None
        return [tombstone for tombstone in found.values() if tombstone is not None]

    def write(self, topic: str, key: str, message: bytes) -> None:
        """Returns when all replicas in sync have the message."""
        with KafkaOutbox(self._brokers, _WAIT) as outbox:
            outbox.send(topic, key.encode(), message)
            outbox.flush()

    def lift(self, lifted: Iterable[Decision | Setting], actor: str, note: str, at: datetime) -> None:
        """Writes tombstones that say who, why and when, and of a decision when it held."""
        headers = {"actor": actor, "note": note, "at": at.isoformat(timespec="seconds")}
        with KafkaOutbox(self._brokers, _WAIT) as outbox:
            for one in lifted:
                topic, told = SETTINGS.name, headers
                if isinstance(one, Decision):
                    held = (one.issued_at.isoformat(), one.expires_at.isoformat())
                    topic, told = ENFORCEMENT.name, headers | dict(zip(HELD, held, strict=True))
                outbox.send(topic, one.key.encode(), None, [(name, text.encode()) for name, text in told.items()])
            outbox.flush()

    def _last(self, topic: str, decode: Callable[[bytes], T]) -> list[T]:
        return self._decoded(topic, KafkaLog(self._brokers, _WAIT).state(topic), decode)

    def _decoded(self, topic: str, last: Mapping[bytes, bytes], decode: Callable[[bytes], T]) -> list[T]:
        found = []
        for key, value in last.items():
            try:
                found.append(decode(value))
            except DecodeError as error:
                self._unreadable(topic, key.decode(errors="backslashreplace"), str(error))
        return found


def _tombstone(record: Record) -> dict[str, str]:
    headers = {name: (value or b"").decode(errors="backslashreplace") for name, value in record.headers}
    key = (record.key or b"").decode(errors="backslashreplace")
    return {"key": key} | {name: headers[name] for name in ("actor", "note", "at") if name in headers}
