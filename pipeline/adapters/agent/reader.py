"""Keeps a table equal to the topics ``enforcement`` and ``settings``, from a thread, for as long as the agent lives.

The topics are read whole, without a consumer group, into a table of their own, which then takes the place of the
present one: what was released while the agent was away is gone, and nothing that was released is refused for a moment.
After that each message is applied as it comes. When the connection is lost the table stays as it is, and the reader
tries again for ever, ``MAX_DELAY`` seconds apart at most, and reads all anew.

A topic that was never written to, or was made anew, says nothing about what we know: the table then stays as it is.
"""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from pipeline.adapters.kafka.client import TopicReader, translated
from pipeline.enforce.table import DecisionTable
from pipeline.metrics import Recorder
from pipeline.ports import BrokerUnavailable, Record, TopicMissing
from schemas.codec import decode_decision, decode_setting
from schemas.topics import ENFORCEMENT, SETTINGS

log = structlog.get_logger()

MAX_DELAY: Final = 5.0
STOP_SECONDS: Final = 4.0
_POLL = 0.2
_HEARTBEAT = 1.0
_HEARTBEAT_MS = 3_000
_STALLED = 30.0
_BATCH = 500  # the event loop is held for about 2 ms

Clock = Callable[[], float]
Places = Mapping[tuple[str, int], int]


class _Topics(TopicReader):
    def heartbeat(self) -> tuple[Places, int]:
        """Asks the broker over the connection in use: the ends that it names, and how many messages are not read yet.

        The embedded broker names the first record of the last batch, Kafka the last; neither ever goes back unless the
        topic was made anew. Raises BrokerUnavailable.
        """
        with translated(self._bootstrap):
            ends = self._consumer.end_offsets(self._partitions, timeout_ms=_HEARTBEAT_MS)
            behind = sum(
                max(0, max(ends[tp], self._consumer.highwater(tp) or 0) - self._consumer.position(tp))
                for tp in self._partitions
            )
        return {tuple(tp): end for tp, end in ends.items()}, behind


class EnforcementReader:
    """Runs from ``start`` to ``stop``. ``clock``: seconds since 1970 UTC, as the hooks see the time.

    ``ready``: the topics were read to their end. ``heard_at``: ``time.monotonic()`` of the last answer of Kafka, None
    if there was none. ``lag``: messages that Kafka has and the table does not show yet. ``ended`` is set when the
    thread has ended, be it by a fault.
    """

    def __init__(self, bootstrap: str, table: DecisionTable, clock: Clock, recorder: Recorder) -> None:
        self.ready = False
        self.heard_at: float | None = None
        self.lag = 0
        self.ended = asyncio.Event()
        self._bootstrap = bootstrap
        self._table = table
        self._clock = clock
        self._recorder = recorder
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="enforcement-reader", daemon=True)

    def start(self) -> None:
        """To be called in the event loop that uses the table: the table is changed there only."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Returns when the thread has ended, or after ``STOP_SECONDS`` while it waits for a dead broker."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    def _run(self) -> None:
        try:
            self._read_for_ever()
        finally:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self.ended.set)

    def _read_for_ever(self) -> None:
        delay = 0.2
        complaint = ""
        while not self._stopping.is_set():
            try:
                self._session()
                delay, complaint = 0.2, ""
            except (BrokerUnavailable, TopicMissing) as error:
                self._recorder.add("sekimori_enforce_reads_total", 1, "failed")
                if complaint != str(error):
                    complaint = str(error)
                    log.warning("decisions are not read, what is known holds", reason=complaint)
                self._stopping.wait(delay)
                delay = min(MAX_DELAY, delay * 2)

    def _session(self) -> None:
        """From one full reading to the loss of the connection, or until a topic was made anew."""
        with _Topics(self._bootstrap, (ENFORCEMENT.name, SETTINGS.name)) as reader:
            ends = reader.ends()
            staged = self._read_all(reader, ends)
            if staged is None:
                return
            written = {topic for (topic, _), end in ends.items() if end > 0}
            decisions, allowlist = ENFORCEMENT.name in written, SETTINGS.name in written
            self._in_loop(lambda: self._table.take(staged, decisions=decisions, allowlist=allowlist))
            gc.freeze()  # no collection walks through a million decisions while Postfix waits
            self._recorder.add("sekimori_enforce_reads_total", 1, "complete" if decisions else "empty")
            log.info(
                "decisions read", decisions=len(staged), allow_entries=staged.allow_entries, written=sorted(written)
            )
            self.ready = True
            self._follow(reader)

    def _read_all(self, reader: _Topics, ends: Places) -> DecisionTable | None:
        staged = DecisionTable()
        progress = time.monotonic()
        while any(at < ends[place] for place, at in reader.positions().items()):
            if self._stopping.is_set():
                return None
            batch = reader.poll(_POLL)
            if batch:
                progress = self._heard()
            elif time.monotonic() - progress > _STALLED:
                raise BrokerUnavailable(f"the Kafka broker at {self._bootstrap} sent nothing for {_STALLED:.0f} s")
            now = self._clock()
            for record in batch:
                self._apply(staged, record, now, live=False)
        self._heard()
        return staged

    def _follow(self, reader: _Topics) -> None:
        asked, before = 0.0, dict[tuple[str, int], int]()
        while not self._stopping.is_set():
            batch = reader.poll(_POLL)
            for start in range(0, len(batch), _BATCH):
                self._apply_in_loop(batch[start : start + _BATCH])
            if time.monotonic() - asked < _HEARTBEAT:
                continue
            ends, self.lag = reader.heartbeat()  # a poll does not tell an idle broker from a dead one
            asked = self._heard()
            if any(end < before.get(place, 0) for place, end in ends.items()):
                log.warning("a topic was made anew, reading it from the start")
                return
            before = dict(ends)

    def _heard(self) -> float:
        self.heard_at = time.monotonic()
        return self.heard_at

    def _apply_in_loop(self, batch: Sequence[Record]) -> None:
        def apply() -> None:
            now = self._clock()
            for record in batch:
                self._apply(self._table, record, now, live=True)

        self._in_loop(apply)

    def _in_loop(self, change: Callable[[], None]) -> None:
        """Runs ``change`` in the event loop and waits for it, so that the loop is never flooded."""

        async def run() -> None:
            change()

        if self._loop is not None and not self._stopping.is_set():
            asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _apply(self, table: DecisionTable, record: Record, now: float, live: bool) -> None:
        try:
            key = (record.key or b"").decode()
            if record.topic == SETTINGS.name:
                changed = table.allow(key, None if record.value is None else decode_setting(record.value))
            elif record.value is None:
                changed = table.apply(key, None)
            else:
                decision = decode_decision(record.value)
                changed = table.apply(key, decision)
                if live and changed:
                    age = max(0.0, now - decision.issued_at.timestamp())
                    self._recorder.observe("sekimori_enforce_decision_age_seconds", age)
        except ValueError as error:
            place = f"{record.topic}-{record.partition}@{record.offset}"
            log.warning("message cannot be obeyed", place=place, reason=str(error)[:500])
            self._recorder.add("sekimori_enforce_messages_total", 1, record.topic, "unreadable")
            return
        self._recorder.add("sekimori_enforce_messages_total", 1, record.topic, "applied" if changed else "unchanged")
