"""One thing that is shipped: what reads it, what is kept of it, and how it fares."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from pipeline.adapters.shipping.positions import Remembered, StateError
from pipeline.adapters.shipping.rotated import DoneFile
from pipeline.adapters.shipping.source import Piece, Place, Source
from pipeline.metrics import Recorder
from pipeline.ports import Outbox, PartitionLog

_log = structlog.get_logger()


@dataclass
class World:
    """What a shipper touches besides files. ``wait(seconds)`` returns True when it is time to stop.

    ``monotonic``: seconds; ``now_ms``: milliseconds since 1970 UTC, the time stamp of messages.
    ``zone``: of the host at a time in milliseconds, as the header ``zone`` tells it; empty: nothing is told.
    """

    outbox: Callable[[], AbstractContextManager[Outbox]]
    log: PartitionLog
    wait: Callable[[float], bool]
    monotonic: Callable[[], float]
    now_ms: Callable[[], int]
    recorder: Recorder
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)
    zone: Callable[[int], str] = field(default=lambda at_ms: "")


class Stream(Protocol):
    """Lines that come from somewhere: a file and what was rotated away from it, a pipe, the journal.

    ``changed``: ids came or went, and must be saved before lines are sent. ``trouble``: why not all can be read now.
    ``lost``: how often something was not found any more, so far.
    """

    name: str
    sources: list[Source]
    changed: bool
    trouble: OSError | None
    lost: int

    def over(self, final: bool) -> bool:
        """Nothing will come any more. ``final``: nothing is added to files."""

    def poll(self, now: float, final: bool = False) -> Piece | None:
        """The next lines, None if there are none now. ``now``: seconds of a steady clock. Raises OSError."""

    def acknowledge(self) -> None:
        """The broker has all that was read."""

    def places(self) -> list[Place]:
        """What is not done with, to be remembered."""

    def seen(self) -> list[DoneFile] | None:
        """What is done with, to be remembered."""

    def close(self) -> None:
        """Closes its files."""


class Keeper(Protocol):
    """What remembers how far a stream was read. Both methods raise StateError."""

    def load(self) -> Remembered | None:
        """What was saved last, None if nothing was."""

    def save(self, files: list[Place], log: dict[str, tuple[int, int]], seen: Sequence[DoneFile] | None) -> None:
        """Replaces what was saved, whole or not at all."""


class Feed:
    """A stream, and its positions. What cannot be read or saved is told, once, and tried again; others go on.

    ``log``: topic -> (partition, offset): from there on, what the broker has of ours is not yet accounted for.
    ``unreadable``, ``unsaved``: why, or "".
    """

    def __init__(self, stream: Stream, keeper: Keeper, world: World) -> None:
        """Raises StateError."""
        self.stream = stream
        self.name = stream.name
        self.unreadable = self.unsaved = ""
        known = keeper.load()
        self.log: dict[str, tuple[int, int]] = dict(known.log) if known else {}
        self._keeper = keeper
        self._world = world
        self._saved_at = world.monotonic()
        self._ids = {place.id for place in known.files} if known else set()
        self._lost = 0

    def next(self, follow: bool) -> Piece | None:
        """The next lines. Raises StateError and OSError, but not with ``follow``."""
        trouble: OSError | None = None
        piece = None
        try:
            piece = self.stream.poll(self._world.monotonic(), final=not follow)
        except OSError as error:
            if not follow:
                raise
            trouble = error
        if piece is None:
            self._tell_unreadable(trouble or self.stream.trouble)
        if self.stream.changed and not self.save(follow) and piece is not None and piece.source.id not in self._ids:
            piece.put_back()  # an id must be on the disk before the broker sees it
            return None
        return piece

    def save(self, follow: bool) -> bool:
        """Saves the positions. Raises StateError, but not with ``follow``: then it returns whether it could."""
        try:
            places = self.stream.places()
            self._keeper.save(places, self.log, self.stream.seen())
        except StateError as error:
            if not follow:
                raise
            if not self.unsaved:
                note = "known files go on, new ones wait; after a restart the rest is read back from the broker"
                _log.warning("positions_not_saved", file=self.name, error=str(error), note=note)
            self.unsaved = str(error)
            return False
        if self.unsaved:
            _log.info("positions_saved_again", file=self.name)
        self._ids = {place.id for place in places}
        self.unsaved, self.stream.changed, self._saved_at = "", False, self._world.monotonic()
        return True

    def _tell_unreadable(self, trouble: OSError | None) -> None:
        if trouble is None:
            if self.unreadable:
                _log.info("file_readable_again", file=self.name)
            self.unreadable = ""
            return
        if str(trouble) != self.unreadable:
            _log.warning("file_unreadable", file=self.name, error=str(trouble), note="it is tried again; others go on")
        self.unreadable = str(trouble)

    def check(self, follow: bool) -> None:
        """To be called now and then: tries again what failed, and tells how it fares."""
        if self.unsaved:
            self.save(follow)
        recorder, stream = self._world.recorder, self.stream
        lag = sum(max(0, source.size - source.acknowledged) for source in stream.sources)
        recorder.set("sekimori_ship_lag_bytes", lag, self.name)
        recorder.set("sekimori_ship_unreadable", bool(self.unreadable), self.name)
        age = self._world.monotonic() - self._saved_at if self.unsaved else 0.0
        recorder.set("sekimori_ship_state_age_seconds", age, self.name)
        recorder.add("sekimori_ship_lost_files_total", stream.lost - self._lost, self.name)
        self._lost = stream.lost
