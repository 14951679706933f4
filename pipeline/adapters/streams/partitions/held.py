"""A partition that a worker has: records are worked on, what comes of them is sent, and its state is saved.

Once anything of that has failed, nothing more is worked on or saved: the state would tell of a record whose messages
never arrived, and nobody would work on it again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, NamedTuple, TypeVar

import structlog
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError
from faust.exceptions import ProducerSendError
from faust.types import TP

from pipeline.adapters.streams.ending import Ending
from pipeline.adapters.streams.partitions.lives import Mark, with_mark
from pipeline.adapters.streams.partitions.states import Checkpoint, Opened
from pipeline.metrics import Recorder
from pipeline.partition import Outgoing, PartitionStage, source_of, unreadable
from pipeline.ports import Record
from schemas.codec import encode
from schemas.topics import DEAD_LETTERS

LIMIT: Final = 90.0  # seconds that the broker may take to acknowledge, more than the producer itself waits
TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
_log = structlog.get_logger()
S = TypeVar("S", bound=PartitionStage)
Send = Callable[[Outgoing], Awaitable[Awaitable[Any]]]


class _Sent(NamedTuple):
    ack: Awaitable[Any]
    out: Outgoing
    record: Record


class Held(Generic[S]):
    """One partition. ``kept``: over a rebalance, since when nobody knows who worked on it. ``sparse``: its offsets have
    gaps (transactions, retention), which are not to be asked for again and again. ``unacked``: events of Faust.

    ``opened``: its state as it was loaded. ``topic_id``: of the topic, "" where the broker tells none.
    """

    def __init__(
        self, tp: TP, opened: Opened[S], topic_id: str, send: Send, recorder: Recorder, ending: Ending
    ) -> None:
        self.stage, self.topic_id = opened.stage, topic_id
        self.kept = self.sparse = self.working = False
        self.unacked: deque[Any] = deque()
        self.marks = opened.seal.marks if opened.seal else ()
        self.lock = asyncio.Lock()
        self.saving = False
        self.saved_at = time.monotonic()
        self._tp, self._writer = tp, opened.writer
        self._send, self._recorder, self._ending = send, recorder, ending
        self._last: Record | None = None
        self._checkpoint: Checkpoint | None = None
        self._sent: list[_Sent] = []
        self._written: list[Awaitable[Any]] = []
        self._sealed = self.marks
        self.stage.renew()

    def drop(self) -> None:
        """The partition is another's."""
        self.unacked.clear()
        self._checkpoint, self.saving = None, False

    def renew(self) -> None:
        """Others may have had the partition, and deleted the state that was written: the next one is whole, and its
        own. What Faust had handed over comes again."""
        self.drop()
        self._writer = self._writer.renewed()
        self.stage.renew()
        self.kept, self.sparse = True, False

    async def process(self, record: Record) -> None:
        """Works on one record, and sends what comes of it. Raises whatever goes wrong, and then no more is to be done
        with this partition."""
        async with self.lock:
            if self.working:
                raise RuntimeError("work on an earlier record was broken off; it is begun anew")
            self.working = True
            for out in self.stage.process(record):
                await self._send_of(record, out)
            self.working = False
            self._last = record

    async def _send_of(self, record: Record, out: Outgoing) -> None:
        try:
            self._sent.append(_Sent(await self._limited(self._send(out)), out, record))
        except ProducerSendError as error:
            if not isinstance(error.__cause__, TOO_LARGE):
                raise
            await self._refused(record, out)

    async def _refused(self, record: Record, out: Outgoing) -> None:
        """What the broker will never take is told, and work goes on."""
        why = f"a message for {out.topic} of {len(out.value or b'')} bytes was refused by the broker as too large"
        _log.error("message_refused", topic=out.topic, partition=self._tp.partition, offset=record.offset, why=why)
        self._recorder.add("sekimori_stream_refused_messages_total")
        source = f"{source_of(self._tp.topic, self._tp.partition, self.stage.life)}>{out.topic}"
        letter = Outgoing(DEAD_LETTERS.name, encode(unreadable(source, record, why)), record.key)
        await self._limited(await self._limited(self._send(letter)))

    async def save_whole(self) -> None:
        """A last checkpoint, from its begin to its end."""
        self._checkpoint = None
        await self.save(float("inf"))

    async def save(self, budget: float) -> None:
        """Goes on with a checkpoint, or begins one; at its end, acknowledges what the state includes.

        A part is sent only when everything that came of the records in it is safe: a record whose position is saved is
        never worked on again. ``budget``: seconds that may be taken from messages at a time.
        """
        async with self.lock:
            if self._ending.failure is not None or self.working:
                return
            if self._checkpoint is None:
                self._checkpoint, self.saving = Checkpoint(self.stage.save(), self.stage.position), True
                if self._last is not None:
                    self.marks = with_mark(self.marks, Mark.of(self._last))
                self._sealed = self.marks
            checkpoint, writer = self._checkpoint, self._writer
            parts, complete = checkpoint.take(budget)
            before, self._sent = self._sent, []
        for ack, out, record in before:
            try:
                await self._limited(ack)
            except TOO_LARGE:
                await self._refused(record, out)
        for part in parts:
            for out, after in writer.part(part):
                await self._write(out, after)
        if self._checkpoint is not checkpoint or not complete:
            return
        seal = writer.seal(checkpoint.start, self.stage.life, self.topic_id, self._sealed)
        await self._write(*seal)
        await self._settle()
        for deletion in writer.deletions():
            await self._write(deletion, False)
        if self._checkpoint is not checkpoint:
            return
        while self.unacked and self.unacked[0].message.offset <= checkpoint.start:
            self.unacked.popleft().ack()
        self._checkpoint, self.saving, self.saved_at = None, False, time.monotonic()

    async def _write(self, out: Outgoing, after: bool) -> None:
        if after:
            await self._settle()
        self._written.append(await self._limited(self._send(out)))
        self._recorder.add("sekimori_stream_saved_bytes_total", len(out.value or b""))

    async def _settle(self) -> None:
        written, self._written = self._written, []
        for ack in written:
            await self._limited(ack)

    async def _limited(self, what: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(LIMIT):
                return await what
        except TimeoutError:
            raise TimeoutError(f"the broker has acknowledged nothing for {LIMIT:.0f} s") from None
