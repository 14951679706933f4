"""Streaming jobs on Faust: partitions in, messages out, state saved before offsets are committed.

Faust brings the consumer group, rebalancing and the producer. The state is ours (``PartitionStage``), saved in
checkpoints: its parts are written one after the other, between messages, so that saving a large state holds nobody up.
When a checkpoint is written and everything sent before it is acknowledged, the messages up to its start are
acknowledged, and Faust commits. A killed worker's partitions are loaded from there by whoever gets them, and what was
not committed comes again.

The state alone says what comes next, not the consumer: around a rebalance Faust's consumer may leave messages out
(fetched before, thrown away, and not fetched again where nothing was committed), and another worker may have had the
partition in between. So a message that does not follow upon the state makes the job load it anew, and read itself
what lies between.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from itertools import islice, takewhile
from typing import Any, Final, Generic, TypeVar

import structlog
from faust.types import TP

from pipeline.adapters.kafka.client import KafkaLog
from pipeline.adapters.kafka.security.access import cluster_of
from pipeline.adapters.streams.app import faust_app
from pipeline.adapters.streams.ending import Ending
from pipeline.adapters.streams.partitions.held import Held
from pipeline.adapters.streams.partitions.lives import START, goes_on
from pipeline.adapters.streams.partitions.states import StateTopic, patiently
from pipeline.adapters.streams.progress import Progress
from pipeline.adapters.streams.topics import ReadTopics
from pipeline.metrics import Recorder
from pipeline.partition import Outgoing, PartitionStage
from pipeline.ports import Record
from pipeline.settings import Settings
from schemas.topics import TALLIES, Topic

TICK: Final = 0.05  # seconds between looks at what is to be saved
BUDGET: Final = 0.02  # seconds that saving may take from the messages at a time
WATCH: Final = 5.0  # seconds between looks at the topics themselves
UNSAVED: Final = 60.0  # seconds that saving a state may take before the job is not ready
PATIENCE: Final = 30.0  # seconds, see ``Progress``; more where sessions are long
CHUNK: Final = 64  # records that the consumer left out, read at once
_log = structlog.get_logger()
S = TypeVar("S", bound=PartitionStage)


class StreamJob(Generic[S]):
    """One streaming job: reads ``topics``, holds a stage for each partition, saves states to ``state_topic``.

    ``make``: (topic, partition) -> its stage, new. A state that cannot be read ends the job (StateUnreadable), and so
    does every other failure; see ``ending``.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        topics: list[Topic],
        state_topic: Topic,
        make: Callable[[str, int], S],
        recorder: Recorder,
    ) -> None:
        self._settings = settings
        self._cluster = cluster_of(settings)
        self._log = KafkaLog(self._cluster)
        # Each subject is counted in its own partition of this one.
        of = settings.partitions if TALLIES in topics else 0
        self._states = StateTopic(self._log, state_topic, of=of)
        self._make = make
        self._recorder = recorder
        self.topics = ReadTopics(name, settings, topics, state_topic, recorder)
        self._held: dict[TP, Held[S]] = {}
        self._lock = asyncio.Lock()
        self._joined = self._busy = False
        self._progress = Progress(max(PATIENCE, 4 * settings.session_timeout), time.monotonic())
        self.ending = Ending()
        self.app = faust_app(self._cluster.topic(f"sekimori-{name}"), settings, self.ending)
        source = self.app.topic(
            *map(self._cluster.topic, self.topics.names),
            key_serializer="raw",
            value_serializer="raw",
            key_type=bytes,
            value_type=bytes,
        )
        self.app.agent(source, name=f"{name}.work")(self._work)
        self.task(self._save_for_ever)
        self.task(self._watch_for_ever)
        self.app.on_partitions_assigned.connect(self._assigned)
        self.app.on_before_shutdown.connect(self._shut_down)

    def task(self, work: Callable[[], Awaitable[None]]) -> None:
        """To be done beside the messages. If it fails, the job does."""

        async def guarded() -> None:
            with self.ending.telling():
                await work()

        self.app.task(guarded)

    def held(self) -> Mapping[TP, Held[S]]:
        """The partitions that this worker holds."""
        return dict(self._held)

    def why_not_ready(self, now: float) -> str:
        """Why work is not done as they come, or not saved; "" if they are. ``now``: by the monotonic clock."""
        if self.ending.failure is not None:
            return f"it has failed: {self.ending.failure}"
        if not self._joined:
            return "it has no part of the group yet"
        if self.topics.is_silent():
            return "the broker does not answer, or the topics are missing"
        late = 3 * self._settings.checkpoint_seconds + UNSAVED
        for tp in sorted(self._progress.waiting):
            return f"messages of {tp.topic}, partition {tp.partition}, wait"
        for tp, held in self._held.items():
            if held.unacked and now - held.saved_at > late:
                return f"the state of {tp.topic}, partition {tp.partition}, is not saved"
        return ""

    def refresh(self) -> None:
        """To be called now and then, in the event loop: see ``PartitionStage``."""
        for held in self._held.values():
            held.stage.refresh()

    async def _work(self, stream: Any) -> None:
        async for event in stream.noack().events():
            if self.ending.failure is not None or self.ending.again:
                continue
            self._busy = True
            try:
                with self.ending.telling():
                    await self._take(event)
            finally:  # Faust may break it off at a rebalance
                self._busy = False
                self._progress.moved(time.monotonic())

    async def _take(self, event: Any) -> None:
        message = event.message
        tp = self._known(message)
        self._progress.came(tp, time.monotonic())
        held = await self._reach(tp, message.offset)
        if self._held.get(tp) is not held:
            return  # the partition went to another while the message was on its way, or the state was loaded
        held.unacked.append(event)
        if message.offset > held.stage.position:
            headers = tuple(dict(message.headers or {}).items())
            timestamp_ms = int(message.timestamp * 1000)
            place, content = (tp.topic, tp.partition, message.offset), (message.key, message.value)
            await self._process(held, Record(*place, timestamp_ms, *content, headers))

    async def _process(self, held: Held[S], record: Record) -> None:
        await held.process(record)
        self._measure(record)

    async def _reach(self, tp: TP, offset: int) -> Held[S]:
        """The partition's state, with every record before ``offset`` in it."""
        held = self._held.get(tp)
        if held is None or (held.kept and offset > held.stage.position + 1):
            held = await self._open(tp)
        held.kept = False
        if offset > held.stage.position + 1 and not held.sparse and self._held.get(tp) is held:
            await self._fill(tp, held, offset)
        return held

    async def _fill(self, tp: TP, held: Held[S], until: int) -> None:
        """Works on the records before ``until`` that the consumer left out."""
        start = held.stage.position + 1
        while records := await asyncio.to_thread(self._left_out, tp, held.stage.position + 1, until):
            for record in records:
                await self._process(held, record)
        last = held.stage.position
        held.sparse = last < start
        if not held.sparse:
            _log.info("messages_left_out", topic=tp.topic, partition=tp.partition, first=start, last=last)

    @patiently
    def _left_out(self, tp: TP, start: int, until: int) -> list[Record]:
        if start >= until:
            return []
        with closing(self._log.read(tp.topic, tp.partition, start)) as log:
            return list(islice(takewhile(lambda record: record.offset < until, log), CHUNK))

    async def _open(self, tp: TP) -> Held[S]:
        """Loads the state of a partition that this worker was given, and holds it against its topic."""
        saved = await asyncio.to_thread(self._states.read, tp.partition)
        opened = self._states.open(lambda: self._make(tp.topic, tp.partition), tp.topic, tp.partition, saved)
        stage, seal = opened.stage, opened.seal
        topic_id = await asyncio.to_thread(self.topics.id_of, tp.topic)
        another = bool(seal and seal.topic_id and topic_id and seal.topic_id != topic_id)
        marks = seal.marks if seal else ()
        begin = START if another else await asyncio.to_thread(self._goes_on, tp, stage.position, marks)
        held = Held(tp, opened, topic_id, self._send, self._recorder, self.ending)
        if another or begin < stage.position:
            self.topics.tell_new_life(tp.topic, tp.partition, another, stage.position, begin + 1)
            stage.life += 1
            stage.restart(begin)
            held.marks = tuple(mark for mark in held.marks if mark.offset <= begin)
        if self._asked(tp) in self.app.consumer.assignment():
            self._held[tp] = held
        _log.info("partition_opened", topic=tp.topic, partition=tp.partition, parts=len(saved), position=stage.position)
        return held

    @patiently
    def _goes_on(self, tp: TP, position: int, marks: Any) -> int:
        return goes_on(self._log, tp.topic, tp.partition, position, marks)

    def _asked(self, tp: TP) -> TP:
        """As the consumer knows it."""
        return TP(self._cluster.topic(tp.topic), tp.partition)

    def _known(self, tp: Any) -> TP:
        """As everybody else does."""
        return TP(self._cluster.name(tp.topic), tp.partition)

    async def _send(self, out: Outgoing) -> Awaitable[Any]:
        headers = dict(self._cluster.keys.signed(out.topic, out.key, out.value, out.headers))
        sent: Awaitable[Any] = await self.app.producer.send(
            self._cluster.topic(out.topic), out.key, out.value, out.partition, None, headers or None
        )
        return sent

    def _measure(self, record: Record) -> None:
        self._recorder.add("sekimori_stream_records_total", 1, record.topic)
        age = time.time() - record.timestamp_ms / 1000
        self._recorder.set("sekimori_stream_event_age_seconds", age, record.topic)
        try:
            high = self.app.consumer.highwater(self._asked(TP(record.topic, record.partition))) or record.offset + 1
        except AssertionError:  # of the client library: another thread has just given the partition back
            return
        self._recorder.set(
            "sekimori_stream_lag_messages", max(0, high - record.offset - 1), record.topic, str(record.partition)
        )

    async def _save_for_ever(self) -> None:
        while not self.app.should_stop:
            await asyncio.sleep(TICK)
            async with self._lock:
                for tp, held in list(self._held.items()):
                    self._recorder.set("sekimori_stream_unsaved_messages", len(held.unacked), str(tp.partition))
                    due = time.monotonic() - held.saved_at >= self._settings.checkpoint_seconds
                    if held.saving or (held.unacked and due):
                        await held.save(BUDGET)

    async def _assigned(self, app: Any, assigned: set[TP], **_: Any) -> None:
        """Partitions that went to others are dropped with their state; of those that stay, what was not committed comes
        again."""
        self._joined = True
        for tp in [tp for tp in self._held if self._asked(tp) not in assigned]:
            self._held.pop(tp).drop()
            self._recorder.set("sekimori_stream_lag_messages", 0, tp.topic, str(tp.partition))
            self._recorder.set("sekimori_stream_unsaved_messages", 0, str(tp.partition))
            _log.info("partition_lost", topic=tp.topic, partition=tp.partition)
        for held in self._held.values():
            held.renew()

    async def _watch_for_ever(self) -> None:
        """Holds the topics against what is known of them, and looks whether messages come."""
        while not self.app.should_stop:
            await asyncio.sleep(WATCH)
            positions = {tp: held.stage.position for tp, held in self._held.items()}
            found = await asyncio.to_thread(self.topics.look, positions)
            if found is None:
                continue
            if found.others:
                for tp in found.others:
                    if tp in self._held:
                        self._held.pop(tp).drop()
                self.ending.begin_again(found.why)
            if why := await self._stuck():
                self.ending.begin_again(why)

    async def _stuck(self) -> str:
        """Why nothing comes, though the broker answers; "" if all is well."""
        now = time.monotonic()
        if self._busy:
            self._progress.moved(now)
        joined = self._joined and not self.app.rebalancing
        assigned = [self._known(tp) for tp in self.app.consumer.assignment()] if joined else []
        quiet = self._progress.quiet(assigned, now)
        positions = {tp: held.stage.position for tp, held in self._held.items()}
        waiting = await asyncio.to_thread(self.topics.waiting, quiet, positions) if quiet else frozenset()
        for tp in quiet:
            if tp not in waiting:
                self._progress.came(tp, now)
        return self._progress.stuck(now, joined, waiting, self.topics.back_at)

    async def _shut_down(self, app: Any, **_: Any) -> None:
        """A last checkpoint, so that the successor has nothing to repeat."""
        async with self._lock:
            for held in list(self._held.values()):
                if held.unacked:
                    with self.ending.telling():
                        await held.save_whole()
