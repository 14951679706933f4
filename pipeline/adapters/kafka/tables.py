"""Keeps a table equal to compacted topics, from a thread, for as long as a process lives.

The topics are read whole, without a consumer group, into a table of their own, which then takes the place of the
present one: what was lifted while nobody listened is gone, although its tombstone may be, too, and nothing that was
lifted holds for a moment. After that each message is applied as it comes. When the connection is lost the table stays
as it is, and the reader tries again for ever, ``MAX_DELAY`` seconds apart at most, and reads all anew.

A topic that was never written to, or was made anew, says nothing about what we know: the table then stays as it is.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import structlog

from pipeline.ports import BrokerUnavailable, FollowedLog, Places, Record, TopicMissing

_log = structlog.get_logger()

MAX_DELAY: Final = 5.0
FIRST_DELAY: Final = 0.2
STOP_SECONDS: Final = 4.0
_POLL = 0.2
_HEARTBEAT = 1.0
_STALLED = 30.0

T = TypeVar("T")


class Table(Protocol[T]):
    """What topics are kept in. Its methods are called from the reader's thread."""

    def empty(self) -> T:
        """One that the topics can be read into."""

    def fill(self, staged: T, records: Sequence[Record]) -> None:
        """Applies records of the whole reading to what ``empty`` gave."""

    def replace(self, staged: T, written: frozenset[str]) -> None:
        """Puts it in the place of what is known, for the topics that were ever ``written`` to."""

    def change(self, records: Sequence[Record]) -> None:
        """Applies new records to what is known."""

    def lost(self) -> None:
        """The topics cannot be read."""


class TableReader:
    """Runs from ``start`` to ``stop``. ``reading`` opens the topics.

    ``ready``: the topics were read to their end. ``heard_at``: ``time.monotonic()`` of the last answer of Kafka, None
    if there was none. ``lag``: messages that Kafka has and the table does not show yet. Nothing but ``stop`` ends it:
    whatever goes wrong is told, and tried again.
    """

    def __init__(
        self,
        reading: Callable[[], FollowedLog],
        table: Table[Any],
        name: str = "table",
    ) -> None:
        self.ready = False
        self.heard_at: float | None = None
        self.lag = 0
        self._reading, self._table, self._complaint = reading, table, ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read_for_ever, name=name, daemon=True)

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended, or after ``STOP_SECONDS`` while it waits for a dead broker."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)

    @property
    def stopping(self) -> bool:
        """Was ``stop`` called?"""
        return self._stopping.is_set()

    def _read_for_ever(self) -> None:
        delay = FIRST_DELAY
        while not self._stopping.is_set():
            try:
                self._session()
                delay = FIRST_DELAY
            except Exception as error:  # noqa: BLE001  # out of file descriptors, for one: it may be over soon
                if not self._complaint:
                    delay = FIRST_DELAY
                self._table.lost()
                self._complain(error)
                self._stopping.wait(delay)
                delay = min(MAX_DELAY, delay * 2)

    def _complain(self, error: Exception) -> None:
        """Once for each cause in a row."""
        expected = isinstance(error, BrokerUnavailable | TopicMissing)
        complaint = str(error) if expected else repr(error)
        if complaint != self._complaint:
            self._complaint = complaint
            log = _log.warning if expected else _log.error
            log("topics_unavailable", error=complaint, kept="what is known", exc_info=not expected)

    def _session(self) -> None:
        """From one full reading to the loss of the connection, or until a topic was made anew."""
        with self._reading() as reader:
            ends = reader.ends()
            staged = self._table.empty()
            self._read_all(reader, ends, staged)
            if self._stopping.is_set():
                return
            self._table.replace(staged, frozenset(topic for (topic, _), end in ends.items() if end > 0))
            self.ready, self._complaint = True, ""
            self._follow(reader)

    def _read_all(self, reader: FollowedLog, ends: Places, staged: object) -> None:
        progress = time.monotonic()
        while not self._stopping.is_set() and any(at < ends[place] for place, at in reader.positions().items()):
            batch = reader.poll(_POLL)
            if batch:
                progress = self._heard()
                self._table.fill(staged, batch)
            elif time.monotonic() - progress > _STALLED:
                raise BrokerUnavailable(f"the Kafka broker sent nothing for {_STALLED:.0f} s")
        self._heard()

    def _follow(self, reader: FollowedLog) -> None:
        asked, before = 0.0, dict[tuple[str, int], int]()
        while not self._stopping.is_set():
            batch = reader.poll(_POLL)
            if batch:
                self._table.change(batch)
            if time.monotonic() - asked < _HEARTBEAT:
                continue
            ends, self.lag = reader.heartbeat()  # a poll does not tell an idle broker from a dead one
            asked = self._heard()
            if any(end < before.get(place, 0) for place, end in ends.items()):
                _log.warning("topic_made_anew", next="it is read from the start")
                return
            before = dict(ends)

    def _heard(self) -> float:
        self.heard_at = time.monotonic()
        return self.heard_at


def applied(record: Record, apply: Callable[[], bool]) -> str:
    """Applies a message: ``applied``, ``unchanged``, or ``unreadable`` if it raises anything, which is logged.

    One that brings out a fault of ours must not keep the others from being read.
    """
    try:
        return "applied" if apply() else "unchanged"
    except Exception as error:  # noqa: BLE001  # a fault of ours must not hide the other messages
        place = f"{record.topic}-{record.partition}@{record.offset}"
        why = str(error) if isinstance(error, ValueError) else repr(error)
        _log.warning("message_unreadable", place=place, error=why[:500])
        return "unreadable"
