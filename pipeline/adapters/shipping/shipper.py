"""Log files to topics, without loss and without repeats.

Every frame carries the id of its file and the position after its last line in its headers. Positions are saved after
the broker has acknowledged. Whatever happens in between (a kill, a broker that went away in mid-sentence), what the
broker has is read back from the last known offset of our own partitions, and those lines are passed over.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from pipeline.adapters.shipping.feed import Feed, Keeper, Stream, World
from pipeline.adapters.shipping.frames import TopicChoice, frames
from pipeline.partition import FILE, REFERENCE, ZONE
from pipeline.ports import BrokerUnavailable, Outbox, TopicMissing
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

    def add(self, other: "ShipCounts") -> None:
        """Adds the other's to these."""
        self.lines += other.lines
        self.frames += other.frames
        self.bytes += other.bytes
        self.cut += other.cut


@dataclass(frozen=True)
class Options:
    """``host``: the key of every message. ``batch_lines``: of one message, at most."""

    host: str
    topic: TopicChoice = "auto"
    batch_lines: int = 200
    linger_ms: int = 200
    follow: bool = False

    @property
    def topics(self) -> tuple[str, ...]:
        """Where lines may go."""
        return (MAILLOG.name, AUTHLOG.name) if self.topic == "auto" else (self.topic,)


class Shipper:
    """Ships what ``streams`` read. ``patience``: seconds without a broker until a run that does not follow gives up."""

    def __init__(self, streams: Iterable[tuple[Stream, Keeper]], options: Options, world: World) -> None:
        """Raises StateError."""
        self.counts = ShipCounts()
        self.patience = 30.0
        self._options = options
        self._world = world
        self._feeds = [Feed(stream, keeper, world) for stream, keeper in streams]
        self._broker_up = True

    def run(self) -> None:
        """Returns when all is sent, or with ``follow`` when it is told to stop.

        Raises BrokerUnavailable, TopicMissing, StateError and OSError (none with ``follow``), MessageRefused.
        """
        delay, failing_since, complained = 1.0, None, float("-inf")
        while True:
            sent = self.counts.frames
            try:
                with self._world.outbox() as outbox:
                    self._recover()
                    self._tell_broker(True)
                    self._pump(outbox)
                    return
            except (BrokerUnavailable, TopicMissing) as error:
                now = self._world.monotonic()
                self._tell_broker(False)
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
        for feed in self._feeds:
            feed.stream.close()

    def health(self) -> dict[str, object]:
        """What it says of itself: whether the broker answers, what cannot be read or saved."""
        return {
            "broker": self._broker_up,
            "unreadable": {feed.name: feed.unreadable for feed in self._feeds if feed.unreadable},
            "unsaved": {feed.name: feed.unsaved for feed in self._feeds if feed.unsaved},
        }

    def _tell_broker(self, up: bool) -> None:
        self._broker_up = up
        self._world.recorder.set("sekimori_ship_broker_up", up)
        for feed in self._feeds:
            feed.check(self._options.follow)

    def _recover(self) -> None:
        """Finds out what the broker has of ours beyond the saved positions."""
        key = self._options.host.encode()
        ends: dict[bytes, dict[str, int]] = {}
        logs = [feed.log for feed in self._feeds]
        for topic in self._options.topics:
            partition = self._world.log.partition_of(topic, key)
            known = [log[topic] for log in logs if topic in log]
            for old, start in {p: min(o for q, o in known if q == p) for p, _ in known}.items():
                for record in self._world.log.read(topic, old, start):
                    if record.key == key:
                        _note(ends, topic, dict(record.headers))
            # Nothing of a path that is new here lies in the topic, nor anything of ours in a new partition.
            end = self._world.log.end(topic, partition)
            for log in logs:
                if topic not in log or log[topic][0] != partition:
                    log[topic] = (partition, end)
        for feed in self._feeds:
            for source in feed.stream.sources:
                source.rewind(ends.get(source.id.encode(), {}))
            feed.save(self._options.follow)

    def _pump(self, outbox: Outbox) -> None:
        while True:
            more = self._round(outbox)
            self._world.progress(*self._progress())
            for feed in self._feeds:
                feed.check(self._options.follow)
            if not more and all(feed.stream.over(not self._options.follow) for feed in self._feeds):
                return
            if self._world.wait(0 if more else self._options.linger_ms / 1000):
                return

    def _round(self, outbox: Outbox) -> bool:
        """Reads, sends, waits for the broker, saves. False if there was nothing to read."""
        counts, now_ms = ShipCounts(), self._world.now_ms()
        read = False
        for feed in self._feeds:
            size = 0
            while size < ROUND_BYTES and (piece := feed.next(self._options.follow)) is not None:
                read = True
                size += sum(map(len, piece.lines))
                counts.cut += piece.cut
                source = piece.source
                written = source.written_ms(now_ms)
                older = () if written is None else ((REFERENCE, b"%d" % written),)
                zone = self._world.zone(now_ms if written is None else written)
                told = (*older, (ZONE, zone.encode())) if zone else older
                for frame in frames(
                    piece.lines, piece.ends, self._options.topic, source.skip, self._options.batch_lines
                ):
                    headers = ((FILE, source.id.encode()), ("end", b"%d" % frame.end), *told)
                    outbox.send(frame.topic, self._options.host.encode(), frame.value, headers, timestamp_ms=now_ms)
                    counts.lines += frame.lines
                    counts.frames += 1
                    counts.bytes += len(frame.value)
        if read:
            self._acknowledged(outbox.flush(), counts)
        return read

    def _acknowledged(self, after: Mapping[tuple[str, int], int], counts: ShipCounts) -> None:
        for feed in self._feeds:
            feed.stream.acknowledge()
            feed.log.update({topic: (partition, offset) for (topic, partition), offset in after.items()})
        self.counts.add(counts)
        recorder = self._world.recorder
        recorder.add("sekimori_ship_lines_total", counts.lines)
        recorder.add("sekimori_ship_messages_total", counts.frames)
        recorder.add("sekimori_ship_bytes_total", counts.bytes)
        recorder.add("sekimori_ship_shortened_lines_total", counts.cut)
        if counts.cut:
            _log.warning("lines_shortened", count=counts.cut)
        for feed in self._feeds:
            feed.save(self._options.follow)

    def _progress(self) -> tuple[int, int]:
        done = total = 0
        for feed in self._feeds:
            for source in feed.stream.sources:
                part, whole = source.content.progress(source.acknowledged)
                done, total = done + part, total + whole
        return done, total


def _note(ends: dict[bytes, dict[str, int]], topic: str, headers: Mapping[str, bytes]) -> None:
    file, end = headers.get(FILE, b""), headers.get("end", b"")
    if file and end.isdigit():
        of_file = ends.setdefault(file, {})
        of_file[topic] = max(of_file.get(topic, 0), int(end))
