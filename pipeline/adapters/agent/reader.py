"""Keeps the agent's table equal to the topics ``enforcement`` and ``settings``, see ``adapters/kafka/tables``.

With keys configured, only what is signed is obeyed; what is not may still have removed by compaction what was signed.
So whatever the table knows, of the snapshot or from before the connection was lost, outlives a new reading where the
topic has nothing but such a message of it.
"""

import asyncio
import gc
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
import structlog

from pipeline.adapters.kafka.client import TopicReader
from pipeline.adapters.kafka.security.gate import Gate
from pipeline.adapters.kafka.security.keys import NO_KEYS, Keys
from pipeline.adapters.kafka.tables import TableReader, applied
from pipeline.detect.standing import Hidden, Told, told_by, told_of
from pipeline.enforce.table import DecisionTable
from pipeline.metrics import Recorder
from pipeline.ports import FollowedLog, Record
from schemas.codec import decode_decision, decode_setting, decode_text
from schemas.enforcement import OVER
from schemas.topics import ENFORCEMENT, SETTINGS

_log = structlog.get_logger()

_MOST_UNOBEYED = 10_000
_BATCH = 500  # the event loop is held for about 2 ms

Clock = Callable[[], float]


class EnforcementReader:
    """Runs from ``start`` to ``stop``; ``state`` says how far it is. ``clock``: seconds since 1970 UTC, as the hooks
    see the time. ``reading`` opens the topics. ``keys``: whose messages are obeyed.
    """

    def __init__(
        self,
        table: DecisionTable,
        clock: Clock,
        recorder: Recorder,
        reading: Callable[[], FollowedLog],
        keys: Keys = NO_KEYS,
    ) -> None:
        self.state = TableReader(reading, self, "enforcement-reader")
        self._table = table
        self._clock = clock
        self._recorder = recorder
        self._gate = Gate(keys, recorder)
        self._hidden = Hidden()
        self._unobeyed: set[int] = set()  # hashes of keys
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def unobeyed(self) -> int:
        """Messages on ``enforcement`` that cannot be obeyed, at most ``_MOST_UNOBEYED``."""
        return len(self._unobeyed)

    def start(self) -> None:
        """To be called in the event loop that uses the table: the table is changed there only."""
        self._loop = asyncio.get_running_loop()
        self.state.start()

    async def stop(self) -> None:
        """See ``TableReader.stop``."""
        await asyncio.to_thread(self.state.stop)

    def empty(self) -> DecisionTable:
        """See ``Table``."""
        gc.disable()  # no collection walks through a million decisions while a mail server waits
        self._hidden.clear()
        self._unobeyed.clear()
        return DecisionTable()

    def fill(self, staged: DecisionTable, records: Sequence[Record]) -> None:
        """See ``Table``."""
        now = self._clock()
        for record in records:
            if self._gate.is_open or self._passes(record, now):
                self._apply(staged, record, now, live=False)

    def replace(self, staged: DecisionTable, written: frozenset[str]) -> None:
        """See ``Table``."""
        self._keep_hidden(staged)
        decisions, allowlist = ENFORCEMENT.name in written, SETTINGS.name in written
        number, entries = len(staged), staged.allow_entries
        self._in_loop(lambda: self._table.take(staged, decisions=decisions, allowlist=allowlist))
        staged.clear()
        gc.freeze()
        gc.enable()
        self._recorder.add("sekimori_enforce_reads_total", 1, "complete" if decisions else "empty")
        _log.info("decisions_read", decisions=number, allow_entries=entries, written=sorted(written))

    def change(self, records: Sequence[Record]) -> None:
        """See ``Table``."""
        obeyed, now = records, self._clock()
        if not self._gate.is_open:  # signatures take time, but not the loop's
            obeyed = [record for record in records if self._passes(record, now)]
        for start in range(0, len(obeyed), _BATCH):
            self._apply_in_loop(obeyed[start : start + _BATCH])

    def lost(self) -> None:
        """See ``Table``."""
        gc.enable()
        self._recorder.add("sekimori_enforce_reads_total", 1, "failed")

    def _passes(self, record: Record, now: float) -> bool:
        passes = self._gate.passes(record)
        if not passes:
            self._recorder.add("sekimori_enforce_messages_total", 1, record.topic, "refused")
        with suppress(ValueError):  # no such key, no such message: told where it is applied
            key = decode_text(record.key, "the key")
            self._hidden.note(record, key, self._known(record.topic, key), passes, now)
        return passes

    def _known(self, topic: str, key: str) -> Told | None:
        if topic == SETTINGS.name:
            setting = self._table.granted.find(key)
            return None if setting is None else told_by(setting.issued_at, setting.expires_at)
        decision = self._table.find(key)
        return None if decision is None else Told(decision.issued_at, decision.expires_at)

    def _keep_hidden(self, staged: DecisionTable) -> None:
        kept = 0
        for topic, key in self._hidden:
            if topic == SETTINGS.name:
                setting = self._table.granted.find(key)
                kept += setting is not None and staged.allow(key, setting)
            elif (decision := self._table.find(key)) is not None:
                kept += staged.restore(msgspec.structs.replace(decision, live=True))
        if kept:
            _log.warning("kept_against_the_topic", decisions_and_entries=kept, why="what hides them is not obeyed")

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

        if self._loop is not None and not self.state.stopping:
            asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _apply(self, table: DecisionTable, record: Record, now: float, live: bool) -> None:
        def apply() -> bool:
            key, told = decode_text(record.key, "the key"), self._told(record)
            if record.topic == SETTINGS.name:
                return table.allow(key, None if record.value is None else decode_setting(record.value), told)
            if record.value is None:  # what is over goes by itself, and a new decision must not go with it
                return not any(name == OVER for name, _ in record.headers) and table.apply(key, None, told)
            decision = decode_decision(record.value)
            changed = table.apply(key, decision)
            if live and changed:
                age = max(0.0, now - decision.issued_at.timestamp())
                self._recorder.observe("sekimori_enforce_decision_age_seconds", age)
            return changed

        outcome = applied(record, apply)
        self._recorder.add("sekimori_enforce_messages_total", 1, record.topic, outcome)
        if record.topic == ENFORCEMENT.name:
            self._note_unobeyed(record, outcome)

    def _note_unobeyed(self, record: Record, outcome: str) -> None:
        key = hash(record.key)
        if outcome != "unreadable" or record.value is None:
            self._unobeyed.discard(key)
        elif len(self._unobeyed) < _MOST_UNOBEYED:
            self._unobeyed.add(key)

    def _told(self, record: Record) -> Told | None:
        """Of a tombstone that is signed."""
        return told_of(record) if record.value is None and not self._gate.is_open else None


def topics_of(bootstrap: str) -> TopicReader:
    """What an agent reads. Raises TopicMissing, BrokerUnavailable."""
    return TopicReader(bootstrap, (ENFORCEMENT.name, SETTINGS.name))
