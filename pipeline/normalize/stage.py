"""The work of ``jobs/normalize`` on one partition of ``maillog`` or ``authlog``."""

import zlib
from collections.abc import Iterator, Mapping

import msgspec

from pipeline.metrics import Recorder
from pipeline.normalize.normalizer import Normalizer
from pipeline.partition import OFFSET, SOURCE, Outgoing, partition_of
from pipeline.ports import Record
from schemas.codec import encode_frame
from schemas.tally import Tally
from schemas.topics import DEAD_LETTERS, EVENTS, TALLIES


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
