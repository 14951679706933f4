"""What a streaming job does with one partition: a record in, messages out, and a state that can be saved.

Pure: the adapter that reads and writes the broker calls it, and so do tests, without any broker.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from pipeline.detector import SHARDS, Detector
from pipeline.flow import Normalizer
from pipeline.metrics import Recorder
from pipeline.peers import pack_network
from pipeline.ports import Record
from pipeline.subjects import partition_of
from schemas.codec import decode_tallies, encode, encode_frame
from schemas.dead_letter import DeadLetter
from schemas.tally import Tally
from schemas.topics import DEAD_LETTERS, ENFORCEMENT, EVENTS, TALLIES

SOURCE, OFFSET = "source", "offset"  # headers: which raw frame a message was made from
_SOURCES_KEY, _POSITION_KEY = b"sources", b"position"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent; ``partition`` None leaves the choice to the key."""

    topic: str
    value: bytes
    key: bytes | None = None
    partition: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class PartitionStage(Protocol):
    """State and work of one partition.

    ``position``: offset of the last record worked on, -1 for none; after ``load``, of the last one that a whole round
    of ``save`` had included. The caller must leave out records at or below it, and give all others, without a gap.
    """

    @property
    def position(self) -> int:
        """See above."""

    def process(self, record: Record) -> list[Outgoing]:
        """The messages that a record brings about. Deterministic: the same records give the same messages."""

    def save(self) -> Iterator[tuple[bytes, bytes]]:
        """One round of (key, value) that together hold the state at the moment of the call, or later."""

    def load(self, saved: Mapping[bytes, bytes]) -> None:
        """Inverse of ``save``. Raises msgspec.DecodeError or zlib.error."""


class NormalizeStage:
    """Raw lines -> events, dead letters and tallies, of one partition of ``maillog`` or ``authlog``."""

    def __init__(self, source: str, normalizer: Normalizer, partitions: int, recorder: Recorder) -> None:
        self._source = source
        self._normalizer = normalizer
        self._partitions = partitions
        self._recorder = recorder
        self._forgotten = 0
        self.position = -1

    def process(self, record: Record) -> list[Outgoing]:
        """See ``PartitionStage``. What a killed worker had sent already is sent again, and told by its headers."""
        self.position = record.offset
        batch = self._normalizer.normalize(record.value or b"", record.timestamp_ms / 1000, self._source, record.offset)
        self._measure(record, batch.lines, batch.ignored, len(batch.dead_letters))
        origin = ((SOURCE, self._source.encode()), (OFFSET, str(record.offset).encode()))
        out = []
        if batch.events:
            out.append(Outgoing(EVENTS.name, encode_frame(batch.events), record.key, headers=origin))
        if batch.dead_letters:
            out.append(Outgoing(DEAD_LETTERS.name, encode_frame(batch.dead_letters), record.key, headers=origin))
        by_partition: dict[int, list[Tally]] = {}
        for tally in batch.tallies:
            by_partition.setdefault(partition_of(tally, self._partitions), []).append(tally)
        for partition, tallies in by_partition.items():
            out.append(Outgoing(TALLIES.name, encode_frame(tallies), None, partition, origin))
        return out

    def _measure(self, record: Record, lines: int, ignored: int, unreadable: int) -> None:
        self._recorder.add("sekimori_normalize_lines_total", lines - ignored - unreadable, record.topic, "event")
        self._recorder.add("sekimori_normalize_lines_total", ignored, record.topic, "ignored")
        self._recorder.add("sekimori_normalize_lines_total", unreadable, record.topic, "dead_letter")
        self._recorder.add("sekimori_normalize_forgotten_total", self._normalizer.joiner.forgotten - self._forgotten)
        self._forgotten = self._normalizer.joiner.forgotten

    def forget_places(self) -> None:
        """To be called when the GeoIP file has changed."""
        self._normalizer.enricher.forget()

    def save(self) -> Iterator[tuple[bytes, bytes]]:
        """See ``PartitionStage``: one value, so that it is never torn."""
        state = msgspec.msgpack.encode((self.position, self._normalizer.joiner.dump()))
        yield self._source.encode(), zlib.compress(state, 1)

    def load(self, saved: Mapping[bytes, bytes]) -> None:
        """See ``PartitionStage``. Lines that are in the state already are joined again, which changes nothing."""
        value = saved.get(self._source.encode())
        if value is not None:
            self.position, joined = msgspec.msgpack.decode(zlib.decompress(value), type=tuple[int, bytes])
            self._normalizer.joiner.load(joined)


class DetectStage:
    """Tallies -> decisions and accusations, of one partition of ``tallies``."""

    def __init__(self, partition: int, detector: Detector, partitions: int, recorder: Recorder) -> None:
        self._partition = partition
        self.detector = detector
        self._partitions = partitions
        self._recorder = recorder
        self._evicted = 0

    @property
    def position(self) -> int:
        """See ``PartitionStage``."""
        return self.detector.position

    def process(self, record: Record) -> list[Outgoing]:
        """See ``PartitionStage``. Decisions have ids of their own, so that sending them again changes nothing."""
        headers = dict(record.headers)
        source = headers.get(SOURCE, b"").decode()
        try:
            tallies = decode_tallies(record.value or b"")
            for tally in tallies:
                _check_network(tally)
            offset = int(headers.get(OFFSET, b"0"))
        except ValueError as error:
            self.detector.position = record.offset
            return [self._dead_letter(record, str(error))]
        findings = self.detector.count(tallies, record.offset, source, offset)
        self._measure(findings.repeated, findings.allowed, len(tallies))
        out = []
        for decision in findings.decisions:
            self._recorder.add("sekimori_detect_decisions_total", 1, decision.rule, decision.mode)
            out.append(Outgoing(ENFORCEMENT.name, encode(decision), decision.key.encode()))
        for tally in findings.accusations:
            out.append(Outgoing(TALLIES.name, encode(tally), None, partition_of(tally, self._partitions)))
        return out

    def _dead_letter(self, record: Record, why: str) -> Outgoing:
        source = f"{record.topic}-{record.partition}"
        self._recorder.add("sekimori_detect_dead_letters_total")
        return Outgoing(DEAD_LETTERS.name, encode(unreadable(source, record, why)), record.key)

    def _measure(self, repeated: int, allowed: int, tallies: int) -> None:
        self._recorder.add("sekimori_detect_tallies_total", tallies)
        self._recorder.add("sekimori_detect_repeated_frames_total", repeated)
        self._recorder.add("sekimori_detect_allowed_total", allowed)
        self._recorder.add("sekimori_detect_evicted_total", self.detector.evicted - self._evicted)
        self._evicted = self.detector.evicted

    def save(self) -> Iterator[tuple[bytes, bytes]]:
        """See ``PartitionStage``. The offsets of the sources and the position come last, as they were before the first
        shard: so a round that was cut off is repeated from a position to which they belong."""
        sources, position = self.detector.sources(), self.position
        for number in range(SHARDS):
            dumped = self.detector.dump(number)
            if dumped is not None:
                yield f"{self._partition}/{number}".encode(), dumped
        prefix = f"{self._partition}/".encode()
        yield prefix + _SOURCES_KEY, sources
        yield prefix + _POSITION_KEY, str(position).encode()

    def load(self, saved: Mapping[bytes, bytes]) -> None:
        """See ``PartitionStage``."""
        prefix = f"{self._partition}/".encode()
        for key, value in saved.items():
            name = key.removeprefix(prefix)
            if name == _SOURCES_KEY:
                self.detector.load_sources(value)
            elif name == _POSITION_KEY:
                self.detector.position = int(value)
            elif name != key:
                self.detector.load(int(name), value)


def _check_network(tally: Tally) -> None:
    """Raises ValueError if a network is none."""
    network = tally.peer if tally.kind == "account" else tally.subject if tally.kind == "ip" else ""
    if network:
        pack_network(network)


def unreadable(source: str, record: Record, why: str) -> DeadLetter:
    """The dead letter for a message that is no message of ours."""
    return DeadLetter(
        source=source,
        offset=record.offset,
        index=0,
        reason=why,
        raw=(record.value or b"").decode("utf-8", "backslashreplace")[:4096],
        time=datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
    )


MakeStage = Callable[[str, int], PartitionStage]
"""(topic, partition) -> its stage, new."""
