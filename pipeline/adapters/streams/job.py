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
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any, Final, Generic, TypeVar

import structlog
from faust.types import TP

from pipeline.adapters.access.rights import check_access
from pipeline.adapters.kafka.client import KafkaLog, partition_counts, wait_until_up
from pipeline.adapters.kafka.cluster import Cluster
from pipeline.adapters.streams.app import faust_app
from pipeline.adapters.streams.states import Checkpoint, StateTopic, patiently
from pipeline.metrics import Recorder
from pipeline.partition import Outgoing, PartitionStage
from pipeline.ports import Record
from pipeline.settings import Settings, SettingsError
from schemas.topics import Topic

TICK: Final = 0.05  # seconds between looks at what is to be saved
BUDGET: Final = 0.02  # seconds that saving may take from the messages at a time
CHUNK: Final = 64  # records that the consumer left out, read at once
_log = structlog.get_logger()
S = TypeVar("S", bound=PartitionStage)


@dataclass
class _Held(Generic[S]):
    """A partition that this worker has. ``kept``: over a rebalance, since when nobody knows who worked on it.

    ``sparse``: its offsets have gaps (transactions, retention), which are not to be asked for again and again.
    ``torn``: a record was begun, and not all that came of it was sent: such a state must not be saved.
    """

    stage: S
    saved_at: float
    kept: bool = False
    sparse: bool = False
    torn: bool = False
    unacked: deque[Any] = field(default_factory=deque)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    sent: list[Awaitable[Any]] = field(default_factory=list)
    saved: list[Awaitable[Any]] = field(default_factory=list)
    checkpoint: Checkpoint | None = None


class StreamJob(Generic[S]):
    """One streaming job: reads ``topics``, holds a stage for each partition, saves states to ``state_topic``.

    ``make``: (topic, partition) -> its stage, new. A state that cannot be read ends the job (StateUnreadable).
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
        self._name, self._cluster = name, Cluster.of(settings)
        self._log = KafkaLog(self._cluster)
        self._states = StateTopic(self._log, state_topic)
        self._make = make
        self._recorder = recorder
        self._names = [topic.name for topic in topics]
        self._held: dict[TP, _Held[S]] = {}
        self._lock = asyncio.Lock()
        self.app = faust_app(f"sekimori-{name}", settings, self._cluster)
        source = self.app.topic(
            *map(self._cluster.topic, self._names),
            key_serializer="raw",
            value_serializer="raw",
            key_type=bytes,
            value_type=bytes,
        )
        self.app.agent(source, name=f"{name}.work")(self._work)
        self.app.task(self._save_for_ever)
        self.app.on_partitions_assigned.connect(self._assigned)
        self.app.on_before_shutdown.connect(self._shut_down)

    def check(self, seconds: float) -> None:
        """Waits for the broker, ``seconds`` at most, and holds the topics against the settings.

        Raises BrokerUnavailable, AccessRefused, TopicMissing, SettingsError.
        """
        partitions = self._settings.partitions
        wait_until_up(self._cluster, seconds)
        check_access(self._cluster, self._name)
        for topic, found in partition_counts(self._cluster, self._names).items():
            if found != partitions:
                raise SettingsError(
                    f"{topic} has {found} partitions, and SEKIMORI_PARTITIONS is {partitions}: set it to {found}"
                )
        _log.info("job_started", topics=self._names)

    def stages(self) -> Mapping[TP, S]:
        """The stages of the partitions that this worker holds."""
        return {tp: held.stage for tp, held in self._held.items()}

    def refresh(self) -> None:
        """To be called now and then, in the event loop: see ``PartitionStage``."""
        for stage in self.stages().values():
            stage.refresh()

    async def _work(self, stream: Any) -> None:
        async for event in stream.noack().events():
            message = event.message
            tp = TP(message.topic, message.partition)
            held = await self._reach(tp, message.offset)
            if self._held.get(tp) is not held:
                continue  # the partition went to another while the message was on its way, or the state was loaded
            held.unacked.append(event)
            if message.offset > held.stage.position:
                headers = tuple(dict(message.headers or {}).items())
                timestamp_ms = int(message.timestamp * 1000)
                place = self._cluster.name(tp.topic), tp.partition, message.offset
                content = message.key, message.value
                await self._process(held, Record(*place, timestamp_ms, *content, headers))

    async def _process(self, held: _Held[S], record: Record) -> None:
        async with held.lock:
            held.torn = True
            for out in held.stage.process(record):
                held.sent.append(await self._send(out))
            held.torn = False
        self._measure(record)

    async def _reach(self, tp: TP, offset: int) -> _Held[S]:
        """The partition's state, with every record before ``offset`` in it."""
        held = self._held.get(tp)
        if held is None or (held.kept and offset > held.stage.position + 1):
            held = await self._open(tp)
        held.kept = False
        if offset > held.stage.position + 1 and not held.sparse and self._held.get(tp) is held:
            await self._fill(tp, held, offset)
        return held

    async def _fill(self, tp: TP, held: _Held[S], until: int) -> None:
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
        with closing(self._log.read(self._cluster.name(tp.topic), tp.partition, start)) as log:
            return list(islice(takewhile(lambda record: record.offset < until, log), CHUNK))

    async def _open(self, tp: TP) -> _Held[S]:
        """Loads the state of a partition that this worker was given."""
        stage = self._make(self._cluster.name(tp.topic), tp.partition)
        saved = await asyncio.to_thread(self._states.read, tp.partition)
        self._states.load(stage, tp.partition, saved)
        held = _Held(stage, time.monotonic())
        if tp in self.app.consumer.assignment():
            self._held[tp] = held
        _log.info("partition_opened", topic=tp.topic, partition=tp.partition, parts=len(saved), position=stage.position)
        return held

    async def _send(self, out: Outgoing) -> Awaitable[Any]:
        sent: Awaitable[Any] = await self.app.producer.send(
            self._cluster.topic(out.topic), out.key, out.value, out.partition, None, dict(out.headers) or None
        )
        return sent

    def _measure(self, record: Record) -> None:
        self._recorder.add("sekimori_stream_records_total", 1, record.topic)
        age = time.time() - record.timestamp_ms / 1000
        self._recorder.set("sekimori_stream_event_age_seconds", age, record.topic)
        tp = TP(self._cluster.topic(record.topic), record.partition)
        try:
            high = self.app.consumer.highwater(tp) or record.offset + 1
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
                    if held.checkpoint is not None or (held.unacked and due):
                        await self._save(tp, held, BUDGET)

    async def _save(self, tp: TP, held: _Held[S], budget: float) -> None:
        """Goes on with a checkpoint, or begins one; at its end, acknowledges what the state includes.

        A part is sent only when everything that came of the records in it is safe: a record whose position is saved is
        never worked on again. A partition that was lost meanwhile is another's to save.
        """
        async with held.lock:
            if held.torn:
                return
            if held.checkpoint is None:
                held.checkpoint = Checkpoint(held.stage.save(), held.stage.position)
            checkpoint = held.checkpoint
            parts, complete = checkpoint.take(budget)
            before, held.sent = held.sent, []
        await asyncio.gather(*before)
        if self._held.get(tp) is not held:
            return
        for part in parts:
            held.saved.append(await self._send(self._states.message(part, tp.partition)))
            self._recorder.add("sekimori_stream_saved_bytes_total", len(part.value))
        if not complete:
            return
        saved, held.saved = held.saved, []
        await asyncio.gather(*saved)
        while held.unacked and held.unacked[0].message.offset <= checkpoint.start:
            held.unacked.popleft().ack()
        held.checkpoint, held.saved_at = None, time.monotonic()

    async def _assigned(self, app: Any, assigned: set[TP], **_: Any) -> None:
        """Partitions that went to others are dropped with their state; of those that stay, what was not committed comes
        again."""
        for tp in [tp for tp in self._held if tp not in assigned]:
            del self._held[tp]
            self._recorder.set("sekimori_stream_lag_messages", 0, self._cluster.name(tp.topic), str(tp.partition))
            self._recorder.set("sekimori_stream_unsaved_messages", 0, str(tp.partition))
            _log.info("partition_lost", topic=tp.topic, partition=tp.partition)
        for held in self._held.values():
            held.unacked.clear()
            held.checkpoint = None
            held.kept, held.sparse = True, False

    async def _shut_down(self, app: Any, **_: Any) -> None:
        """A last checkpoint, so that the successor has nothing to repeat."""
        async with self._lock:
            for tp, held in list(self._held.items()):
                held.checkpoint = None
                await self._save(tp, held, float("inf"))
