"""The work of ``jobs/normalize`` on one partition of ``maillog`` or ``authlog``."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import msgspec

from pipeline.metrics import Recorder
from pipeline.normalize.normalizer import Normalizer
from pipeline.partition import Outgoing, StatePart, arrival_of, loading, partition_of
from pipeline.ports import Record
from schemas.codec import encode_frame
from schemas.origin import origin_headers
from schemas.tally import Tally
from schemas.topics import DEAD_LETTERS, EVENTS, TALLIES

NEWEST = 2  # version of the format that states are saved in; 1 had no clocks
SHOWN = 100  # hosts with a wrong clock that are told one by one


class NormalizeStage:
    """Raw lines -> events, dead letters and tallies, of one partition of ``maillog`` or ``authlog``.

    ``edition``: tells a value that is another one when the GeoIP file is.
    """

    without_state = (
        "the lines that its topic still keeps are read again from the first, and what comes of them again is left out "
        "by detect and store"
    )

    def __init__(
        self, source: str, normalizer: Normalizer, partitions: int, recorder: Recorder, edition: Callable[[], object]
    ) -> None:
        self._source = source
        self._normalizer = normalizer
        self._partitions = partitions
        self._recorder = recorder
        self._edition = edition
        self._looked_up_in = edition()
        self._forgotten = 0
        self._shown: set[str] = set()  # hosts whose clock was told as wrong
        self.position = -1

    def process(self, record: Record) -> list[Outgoing]:
        """See ``PartitionStage``. What a killed worker had sent already is sent again, and told by its headers."""
        self.position = record.offset
        reference, live = arrival_of(record)
        batch = self._normalizer.normalize(record.value or b"", reference, self._source, record.offset, live)
        self._measure(record, batch.lines, batch.ignored, len(batch.dead_letters))
        self._recorder.add("sekimori_normalize_moved_total", batch.moved.lines)
        origin = origin_headers(self._source, record.offset)
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

    def refresh(self) -> None:
        """See ``PartitionStage``. What was looked up in a GeoIP file is forgotten when there is another."""
        edition = self._edition()
        if edition != self._looked_up_in:
            self._looked_up_in = edition
            self._normalizer.enricher.forget()
        wrong = dict(islice(self._normalizer.clocks.wrong().items(), SHOWN))
        for host in self._shown - wrong.keys():
            self._recorder.set("sekimori_normalize_clock_skew_seconds", 0, host)
        for host, ahead in wrong.items():
            self._recorder.set("sekimori_normalize_clock_skew_seconds", ahead, host)
        self._shown |= wrong.keys()

    def save(self) -> Iterator[StatePart]:
        """See ``PartitionStage``: one part, so that it is never torn."""
        state = msgspec.msgpack.encode((self.position, self._normalizer.dump()))
        yield StatePart(self._source.encode(), zlib.compress(state, 1), NEWEST)

    def load(self, saved: Iterable[StatePart]) -> None:
        """See ``PartitionStage``. Lines that are in the state already are joined again, which changes nothing."""
        for part in saved:
            if part.key == self._source.encode():
                with loading(part, NEWEST):
                    state = zlib.decompress(part.value)
                    self.position, dumped = msgspec.msgpack.decode(state, type=tuple[int, bytes])
                    if part.version == 1:
                        self._normalizer.joiner.load(dumped)
                    else:
                        self._normalizer.load(dumped)
