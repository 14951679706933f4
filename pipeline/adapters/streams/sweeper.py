"""Keeps the topic ``enforcement`` small, from a thread of whoever writes to it, see ``pipeline.enforce.sweep``.

All that sweep are one consumer group, and the topic has one partition: so one of them works, and another takes over
when it is gone. Nothing is committed: whoever begins reads the topic whole.
"""

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from pipeline.adapters.kafka.client import POLL_MS, consumer, partition_counts, records
from pipeline.adapters.kafka.errors import translated
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.security.access import cluster_at
from pipeline.enforce.clock import TrustedClock
from pipeline.enforce.sweep import Message, Sweep
from pipeline.metrics import Recorder
from schemas.enforcement import OVER
from schemas.topics import ENFORCEMENT

_log = structlog.get_logger()

GROUP: Final = "sekimori-sweep"
ACTOR, NOTE = "sekimori", "its time is over"
_EVERY: Final = 10.0  # seconds between two looks
_AGAIN: Final = 30.0  # seconds after a failure


class Sweeper:
    """Works from ``start`` to ``stop``. What fails is told, and tried again."""

    def __init__(self, brokers: str, recorder: Recorder, every: float = _EVERY) -> None:
        self._brokers, self._recorder, self._every = cluster_at(brokers), recorder, every
        self._clock = TrustedClock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sweep_for_ever, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended, or after a few seconds."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(4.0)

    def _sweep_for_ever(self) -> None:
        while not self._stopping.is_set():
            try:
                self._sweep()
            except Exception as error:  # noqa: BLE001  # the job that it is a thread of has more important work
                _log.warning("sweep_failed", error=str(error) or repr(error), again_in_seconds=_AGAIN)
                self._stopping.wait(_AGAIN)

    def _sweep(self) -> None:
        partition_counts(self._brokers, [ENFORCEMENT.name])
        source = consumer(self._brokers, group_id=self._brokers.topic(GROUP), auto_offset_reset="earliest")
        try:
            with translated(self._brokers):
                source.subscribe([self._brokers.topic(ENFORCEMENT.name)])
                self._follow(source)
        finally:
            source.close(autocommit=False, timeout_ms=2000)

    def _follow(self, source: Any) -> None:
        sweep, held, looked = Sweep(), frozenset[Any](), 0.0
        while not self._stopping.is_set():
            polled = source.poll(timeout_ms=POLL_MS)
            if source.assignment() != held:  # ours now, or another's: what was known may be old
                sweep, held = Sweep(), frozenset(source.assignment())
                source.seek_to_beginning(*held) if held else None
                continue
            again = [
                message for record in records(self._brokers, polled) if (message := sweep.take(record)) is not None
            ]
            self._write(again)
            now = self._clock.time(time.time(), time.monotonic())
            if held and not polled and time.monotonic() - looked >= self._every and self._at_end(source, held):
                looked = time.monotonic()
                over = sweep.over(now)
                self._write(over)
                self._recorder.add("sekimori_detect_swept_total", len(over))

    def _at_end(self, source: Any, held: frozenset[Any]) -> bool:
        ends = source.end_offsets(list(held))
        return all(source.position(tp) >= max(ends[tp], source.highwater(tp) or 0) for tp in held)

    def _write(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        at = datetime.now(UTC).isoformat(timespec="seconds")
        told = [(OVER, b"1"), ("actor", ACTOR.encode()), ("note", NOTE.encode()), ("at", at.encode())]
        with KafkaOutbox(self._brokers, 15.0) as outbox:
            for key, value in messages:
                outbox.send(ENFORCEMENT.name, key, value, told if value is None else ())
            outbox.flush()
