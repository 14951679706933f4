"""Keeps the topic ``enforcement`` small, from a thread of whoever writes to it, see ``pipeline.enforce.sweep``; and
with keys configured also whole, see ``pipeline.enforce.guard``.

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
from pipeline.adapters.kafka.errors import end_offsets, position, translated
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.security.access import cluster_at
from pipeline.adapters.kafka.security.gate import Gate
from pipeline.enforce.clock import TrustedClock
from pipeline.enforce.guard import Guard
from pipeline.enforce.sweep import Message, Sweep
from pipeline.metrics import Recorder
from pipeline.ports import Headers, Record
from schemas.enforcement import HELD, OVER
from schemas.topics import ENFORCEMENT

_log = structlog.get_logger()

GROUP: Final = "sekimori-sweep"
ACTOR, NOTE = "sekimori", "its time is over"
_EVERY: Final = 10.0  # seconds between two looks
_AGAIN: Final = 30.0  # seconds after a failure
_GUARDED: Final = 1.0  # seconds between two looks at what others have hidden


class Sweeper:
    """Works from ``start`` to ``stop``. What fails is told, and tried again."""

    def __init__(self, brokers: str, recorder: Recorder, every: float = _EVERY) -> None:
        self._brokers, self._recorder, self._every = cluster_at(brokers), recorder, every
        self._gate = Gate(self._brokers.keys, recorder)
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
                self._recorder.add("sekimori_detect_sweep_failures_total")
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
        held, begin, looked, guarded = frozenset[Any](), dict[Any, int](), 0.0, 0.0
        sweep, guard = Sweep(), self._guard()
        while not self._stopping.is_set():
            polled = source.poll(timeout_ms=POLL_MS)
            if source.assignment() != held:  # ours now, or another's: what was known may be old
                sweep, guard, held = Sweep(), self._guard(), frozenset(source.assignment())
                if held:
                    source.seek_to_beginning(*held)
                    begin = end_offsets(source, list(held))
                continue
            now, steady = self._clock.time(time.time(), time.monotonic()), time.monotonic()
            found = records(self._brokers, polled)
            self._write([m for record in found if (m := _taken(sweep, guard, record, now)) is not None], guard)
            if held and not polled and steady - looked >= self._every and self._at_end(source, held):
                looked = steady
                over = sweep.over(now)
                self._write(over, guard)
                self._recorder.add("sekimori_detect_swept_total", len(over))
            if guard is not None and steady - guarded >= _GUARDED:
                guarded = steady
                if held and all(position(source, tp) >= begin[tp] for tp in held):
                    guard.forget(now)
                    self._write_again(guard.again(steady))

    def _guard(self) -> Guard | None:
        return None if self._gate.is_open else Guard(self._gate.passes)

    def _at_end(self, source: Any, held: frozenset[Any]) -> bool:
        ends = end_offsets(source, list(held))
        return all(position(source, tp) >= max(ends[tp], source.highwater(tp) or 0) for tp in held)

    def _write(self, messages: Sequence[Message], guard: Guard | None) -> None:
        if not messages:
            return
        at = datetime.now(UTC).isoformat(timespec="seconds")
        told = [(OVER, b"1"), ("actor", ACTOR.encode()), ("note", NOTE.encode()), ("at", at.encode())]
        with KafkaOutbox(self._brokers, 15.0) as outbox:
            for key, value, again in messages:
                issued = guard.issued(key) if guard is not None else None
                held = [] if issued is None else [(HELD[0], datetime.fromtimestamp(issued, UTC).isoformat().encode())]
                headers: Headers = again or ([*told, *held] if value is None else ())
                outbox.send(ENFORCEMENT.name, key, value, headers)
            outbox.flush()

    def _write_again(self, hidden: Sequence[Record]) -> None:
        """As it was, with its signature: nobody need be trusted for it."""
        if not hidden:
            return
        with KafkaOutbox(self._brokers, 15.0) as outbox:
            for record in hidden:
                outbox.send(ENFORCEMENT.name, record.key, record.value, record.headers)
            outbox.flush()
        self._recorder.add("sekimori_detect_rewritten_total", len(hidden))
        key = (hidden[0].key or b"")[:200].decode("utf-8", "backslashreplace")
        _log.error("signed_messages_written_again", messages=len(hidden), one_of_them=key, why="others had hidden them")


def _taken(sweep: Sweep, guard: Guard | None, record: Record, now: float) -> Message | None:
    """What is to be written again because our own tombstone crossed it. With keys that is the guard's business, and
    what is not obeyed says nothing about what stands: only where nothing does it may go when it is over."""
    if guard is None:
        return sweep.take(record)
    if guard.take(record, now) or guard.issued(record.key or b"") is None:
        crossed = sweep.take(record)
        if crossed is not None:
            sweep.leave(crossed.key)
    return None
