"""What operators read from and write to the topics ``enforcement`` and ``settings``."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from pipeline.adapters.kafka.client import KafkaLog, partition_counts
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.security.access import cluster_at
from pipeline.detect.standing import supersedes, told_of
from pipeline.enforce.sweep import is_over
from pipeline.ports import Record
from schemas.codec import DecodeError, decode_decision, decode_setting
from schemas.enforcement import HELD, OVER, Decision
from schemas.setting import Setting
from schemas.topics import ENFORCEMENT, SETTINGS

T = TypeVar("T")

_WAIT = 15.0


def _nobody(*_: object) -> None:
    """Is told nothing."""


class DecisionTopics:
    """Both topics. Every method raises BrokerUnavailable, TopicMissing and MessageRefused."""

    def __init__(
        self,
        brokers: str,
        unreadable: Callable[[str, str, str], None],
        refused: Callable[[str, int, str], None] = _nobody,
    ) -> None:
        """``unreadable`` is told of a message that cannot be decoded: topic, key, why; ``refused`` of those that are
        not obeyed, since the cluster's keys say so: topic, how many, why."""
        self._brokers = cluster_at(brokers)
        self._keys = self._brokers.keys
        self._unreadable, self._refused = unreadable, refused

    def decisions(self, now: datetime | None = None) -> list[Decision]:
        """The decision that stands under each key, with ``now`` those that are not over then: the others are neither
        kept nor decoded, however many they are."""
        return self._decoded(self._standing(ENFORCEMENT.name, now), decode_decision)

    def allowlist(self) -> list[Setting]:
        """Every allowlist entry."""
        return self._decoded(self._standing(SETTINGS.name), decode_setting)

    def lifted(self) -> list[dict[str, str]]:
        """Who lifted which decision or entry, when and why, as far as the topics still know.

        What was only swept because its time was over is left out.
        """
        standing = (*self._standing(ENFORCEMENT.name), *self._standing(SETTINGS.name))
        return [_tombstone(record) for record in standing if record.value is None]

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
                topic = ENFORCEMENT.name if isinstance(one, Decision) else SETTINGS.name
                held = zip(HELD, (one.issued_at, one.expires_at), strict=True)
                told = headers | {name: stamp.isoformat() for name, stamp in held if stamp is not None}
                outbox.send(topic, one.key.encode(), None, [(name, text.encode()) for name, text in told.items()])
            outbox.flush()

    def _standing(self, topic: str, now: datetime | None = None) -> list[Record]:
        """The message of each key that is to be obeyed: a value or a tombstone. What was swept is left out, and with
        ``now`` what is over then.

        Signatures are checked only where there is anything to be left: a million that are over cost nothing.
        """
        at = time.time() if now is None else now.timestamp()
        found: dict[bytes, list[Record]] = {}
        for partition in range(partition_counts(self._brokers, [topic])[topic]):
            for record in KafkaLog(self._brokers, _WAIT).read(topic, partition, 0):
                key, gone = record.key or b"", _is_gone(record, None if now is None else at)
                if self._keys.verifier is None:
                    found.pop(key, None)
                if not gone or key in found:
                    found.setdefault(key, []).append(record)
        refused: dict[str, list[str]] = {}
        last = [self._obeyed(records, at, refused) for records in found.values()]
        for why in refused.values():
            self._refused(topic, len(why), why[0])
        return [r for r in last if r is not None and not _is_gone(r, None if now is None else at)]

    def _obeyed(self, records: Sequence[Record], now: float, refused: dict[str, list[str]]) -> Record | None:
        """The one that stands, of those with one key. ``refused``: takes why others do not, by the kind of reason."""
        if self._keys.verifier is None:
            return records[-1]
        standing, known = None, None
        for record in records:
            refusal = self._keys.refusal(record)
            if refusal is not None:
                refused.setdefault(refusal.reason, []).append(refusal.why)
                continue
            try:
                told = told_of(record)
            except DecodeError as error:
                self._tell_unreadable(record, error)
                continue
            if supersedes(told, known, now):
                standing, known = record, told
            else:
                refused.setdefault("old", []).append("it is older than what it would replace")
        return standing

    def _decoded(self, records: Iterable[Record], decode: Callable[[bytes], T]) -> list[T]:
        found = []
        for record in records:
            if record.value is not None:
                try:
                    found.append(decode(record.value))
                except DecodeError as error:
                    self._tell_unreadable(record, error)
        return found

    def _tell_unreadable(self, record: Record, error: DecodeError) -> None:
        self._unreadable(record.topic, (record.key or b"").decode(errors="backslashreplace"), str(error))


def _is_gone(record: Record, now: float | None) -> bool:
    """Was it swept, or is it over ``now``?"""
    if record.value is None:
        return any(name == OVER for name, _ in record.headers)
    return now is not None and is_over(record.value, now)


def _tombstone(record: Record) -> dict[str, str]:
    headers = {name: (value or b"").decode(errors="backslashreplace") for name, value in record.headers}
    key = (record.key or b"").decode(errors="backslashreplace")
    return {"key": key} | {name: headers[name] for name in ("actor", "note", "at") if name in headers}
