"""Log files to topics, without loss and without repeats.

Every frame carries the id of its file and the position after its last line in its headers. Positions are saved after
the broker has acknowledged. Whatever happens in between (a kill, a broker that went away in mid-sentence), what the
broker has is read back from the last known offset of our own partitions, and those lines are passed over.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from pipeline.adapters.files.frames import TopicChoice, frames
from pipeline.adapters.files.positions import Positions
from pipeline.adapters.files.tail import Place, Tail
from pipeline.ports import BrokerUnavailable, Outbox, PartitionLog, TopicMissing
from schemas.topics import AUTHLOG, MAILLOG

# Read and sent before the broker is waited for.
ROUND_BYTES = 4_194_304
MAX_DELAY = 30.0
COMPLAIN_SECONDS = 60.0

_log = structlog.get_logger()


@dataclass
class ShipCounts:
    """What one run did. ``cut``: lines that were too long and were sent shortened."""

    lines: int = 0
    frames: int = 0
    bytes: int = 0
    cut: int = 0


@dataclass(frozen=True)
class Options:
    """``host``: the key of every message. ``batch_lines``: of one message, at most."""

    host: str
    topic: TopicChoice = "auto"
    batch_lines: int = 200
    linger_ms: int = 200
    follow: bool = False
    from_end: bool = False

    @property
    def topics(self) -> tuple[str, ...]:
        """Where lines may go."""
        return (MAILLOG.name, AUTHLOG.name) if self.topic == "auto" else (self.topic,)


@dataclass
class World:
    """What a shipper touches besides files. ``wait(seconds)`` returns True when it is time to stop.

    ``monotonic``: seconds; ``now_ms``: milliseconds since 1970 UTC, the time stamp of messages.
    """

    outbox: Callable[[], AbstractContextManager[Outbox]]
    log: PartitionLog
    wait: Callable[[float], bool]
    monotonic: Callable[[], float]
    now_ms: Callable[[], int]
    progress: Callable[[int, int], None] = field(default=lambda done, total: None)


class Shipper:
    """Ships ``paths``. ``patience``: seconds without a broker until a run that does not follow gives up."""

    def __init__(self, paths: Iterable[Path], positions: Iterable[Positions], options: Options, world: World) -> None:
        self.counts = ShipCounts()
        self.patience = 30.0
        self._options = options
        self._world = world
        self._positions = list(positions)
        self._tails: list[Tail] = []
        # topic -> (partition, offset): from there on, what the broker has of ours is not yet accounted for.
        self._logs: list[dict[str, tuple[int, int]]] = []
        for path, place in zip(paths, self._positions, strict=True):
            known = place.load()
            self._tails.append(Tail(path, known.files if known else None, options.from_end))
            self._logs.append(dict(known.log) if known else {})

    def run(self) -> None:
        """Returns when all is sent, or with ``follow`` when it is told to stop.

        Raises BrokerUnavailable and TopicMissing (never with ``follow``), MessageRefused, StateError, OSError.
        """
        delay, failing_since, complained = 1.0, None, float("-inf")
        while True:
            sent = self.counts.frames
            try:
                with self._world.outbox() as outbox:
                    self._recover()
                    self._pump(outbox)
                    return
            except (BrokerUnavailable, TopicMissing) as error:
                now = self._world.monotonic()
                if self.counts.frames > sent or failing_since is None:
                    delay, failing_since = 1.0, now
                if not self._options.follow and now - failing_since >= self.patience:
                    raise
                if now - complained >= COMPLAIN_SECONDS:
                    complained = now
                    _log.warning("broker_unavailable", error=str(error), note="positions are kept, trying again")
            if self._world.wait(delay):
                return
            delay = min(delay * 2, MAX_DELAY)

    def close(self) -> None:
        """Closes the files."""
        for tail in self._tails:
            tail.close()

    def _recover(self) -> None:
        """Finds out what the broker has of ours beyond the saved positions."""
        key = self._options.host.encode()
        ends: dict[bytes, dict[str, int]] = {}
        for topic in self._options.topics:
            partition = self._world.log.partition_of(topic, key)
            known = [log[topic] for log in self._logs if topic in log]
            for old, start in {p: min(o for q, o in known if q == p) for p, _ in known}.items():
                for record in self._world.log.read(topic, old, start):
                    if record.key == key:
                        _note(ends, topic, dict(record.headers))
            # Nothing of a path that is new here lies in the topic, nor anything of ours in a new partition.
            end = self._world.log.end(topic, partition)
            for log in self._logs:
                if topic not in log or log[topic][0] != partition:
                    log[topic] = (partition, end)
        for tail in self._tails:
            for source in tail.sources:
                source.rewind(ends.get(source.id.encode(), {}))
        self._save(all_of_them=True)

    def _pump(self, outbox: Outbox) -> None:
        while True:
            more = self._round(outbox)
            self._world.progress(*self._progress())
            if not more and not self._options.follow:
                return
            if self._world.wait(0 if more else self._options.linger_ms / 1000):
                return

    def _round(self, outbox: Outbox) -> bool:
        """Reads, sends, waits for the broker, saves. False if there was nothing to read."""
        counts, now_ms = ShipCounts(), self._world.now_ms()
        read = False
        for tail in self._tails:
            size = 0
            while size < ROUND_BYTES:
                piece = tail.poll(self._world.monotonic(), final=not self._options.follow)
                self._save()  # an id must be on the disk before the broker sees it
                if piece is None:
                    break
                read = True
                size += sum(map(len, piece.lines))
                counts.cut += piece.cut
                source = piece.source
                for frame in frames(
                    piece.lines, piece.ends, self._options.topic, source.skip, self._options.batch_lines
                ):
                    headers = (("file", source.id.encode()), ("end", b"%d" % frame.end))
                    outbox.send(frame.topic, self._options.host.encode(), frame.value, headers, timestamp_ms=now_ms)
                    counts.lines += frame.lines
                    counts.frames += 1
                    counts.bytes += len(frame.value)
        if read:
            self._acknowledged(outbox.flush(), counts)
        return read

    def _acknowledged(self, after: Mapping[tuple[str, int], int], counts: ShipCounts) -> None:
        for tail in self._tails:
            for source in tail.sources:
                source.acknowledged = source.offset
        for log in self._logs:
            log.update({topic: (partition, offset) for (topic, partition), offset in after.items()})
        self.counts.lines += counts.lines
        self.counts.frames += counts.frames
        self.counts.bytes += counts.bytes
        self.counts.cut += counts.cut
        if counts.cut:
            _log.warning("lines_shortened", count=counts.cut)
        self._save(all_of_them=True)

    def _save(self, all_of_them: bool = False) -> None:
        for tail, log, positions in zip(self._tails, self._logs, self._positions, strict=True):
            if tail.changed or all_of_them:
                places: list[Place] = [source.place() for source in tail.sources]
                positions.save(places, log)
                tail.changed = False

    def _progress(self) -> tuple[int, int]:
        done = total = 0
        for tail in self._tails:
            for source in tail.sources:
                part, whole = source.content.progress(source.acknowledged)
                done, total = done + part, total + whole
        return done, total


def _note(ends: dict[bytes, dict[str, int]], topic: str, headers: Mapping[str, bytes]) -> None:
    file, end = headers.get("file", b""), headers.get("end", b"")
    if file and end.isdigit():
        of_file = ends.setdefault(file, {})
        of_file[topic] = max(of_file.get(topic, 0), int(end))
