"""The work of ``jobs/normalize`` on one partition of ``maillog`` or ``authlog``."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import msgspec

from pipeline.formats.reading.lines import split_frame
from pipeline.metrics import Recorder
from pipeline.normalize.normalizer import Normalizer, Sender
from pipeline.normalize.unkeyed import HALF, LONGEST, PASSED, Passing, by_host, is_unkeyed
from pipeline.normalize.zones import zone_of
from pipeline.partition import FILE, ZONE, Outgoing, StatePart, arrival_of, loading, partition_of, source_of, unreadable
from pipeline.ports import Record
from schemas.codec import encode, encode_frame
from schemas.origin import origin_headers
from schemas.tally import Tally
from schemas.topics import DEAD_LETTERS, EVENTS, TALLIES

NEWEST = 5  # version of states' format; 1 had no clocks, 2 nothing of what is passed on, 3 no doubles, 4 no claims
PIECE = 1_048_576  # bytes: what comes of so many, some twelve times as much, is never too large for a message
MOST = 64 * PIECE  # bytes of a message, unpacked: a few packed bytes may stand for any number, and end every worker
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
        self,
        topic: str,
        partition: int,
        normalizer: Normalizer,
        partitions: int,
        recorder: Recorder,
        edition: Callable[[], object],
    ) -> None:
        """``partitions``: of ``tallies``."""
        self._topic, self._partition = topic, partition
        self._key = source_of(topic, partition, 0).encode()
        self._normalizer = normalizer
        self._partitions = partitions
        self._recorder = recorder
        self._edition = edition
        self._looked_up_in = edition()
        self._forgotten = 0
        self._passing = Passing()
        self._shown: set[str] = set()  # hosts whose clock was told as wrong
        self.position = -1
        self.life = 0

    def process(self, record: Record) -> list[Outgoing]:
        """See ``PartitionStage``. What a killed worker had sent already is sent again, and told by its headers."""
        self.position = record.offset
        if self._passing.is_repeated(record):
            self._recorder.add("sekimori_normalize_repeated_total")
            return []
        if len(record.value or b"") > MOST:
            return [self._too_large(record)]
        sender = self._sender(record)
        work, size = (self._pass_on, HALF) if is_unkeyed(record) else (self._piece, PIECE)
        frames = enumerate(pieces(record.value or b"", size))
        return [out for number, frame in frames for out in work(record, number, frame, sender)]

    def _too_large(self, record: Record) -> Outgoing:
        why = f"a message of {len(record.value or b'')} bytes, unpacked; up to {MOST} are read"
        source = source_of(self._topic, self._partition, self.life)
        self._recorder.add("sekimori_normalize_lines_total", 1, record.topic, "dead_letter")
        return Outgoing(
            DEAD_LETTERS.name,
            encode(unreadable(source, record, why)),
            record.key,
            headers=origin_headers(source, record.offset),
        )

    def _pass_on(self, record: Record, number: int, frame: bytes, sender: Sender) -> list[Outgoing]:
        """Lines of hosts go on to their partitions; what speaks of nobody, or is too long, is told here."""
        source = source_of(self._topic, self._partition, self.life, number)
        if len(frame) > LONGEST:
            return self._piece(record, number, frame, sender)
        lines = split_frame(frame)
        hosts, rest = by_host(lines, self._normalizer.reader_of(sender.zone), arrival_of(record)[0])
        self._recorder.add("sekimori_normalize_unkeyed_total", len(lines) - len(rest), record.topic)
        here = self._piece(record, number, "\n".join(rest).encode(), sender) if rest else []
        return self._passing.pass_on(record, source, hosts) + here

    def _piece(self, record: Record, number: int, frame: bytes, sender: Sender) -> list[Outgoing]:
        source = source_of(self._topic, self._partition, self.life, number)
        reference, live = arrival_of(record)
        if PASSED in dict(record.headers):
            self._normalizer.scatter()
        batch = self._normalizer.normalize(frame, reference, source, record.offset, live, sender)
        self._measure(record, batch.lines, batch.ignored, len(batch.dead_letters))
        self._recorder.add("sekimori_normalize_moved_total", batch.moved.lines)
        self._recorder.add("sekimori_normalize_doubled_lines_total", batch.doubled)
        origin = origin_headers(source, record.offset)
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

    def _sender(self, record: Record) -> Sender:
        """A zone that there is not is left out, and counted."""
        headers = dict(record.headers)
        told = headers.get(ZONE)
        zone = zone_of(told.decode("utf-8", "backslashreplace")) if told else None
        if told and zone is None:
            self._recorder.add("sekimori_normalize_unknown_zones_total")
        host = "" if record.key is None else record.key.decode("utf-8", "backslashreplace")
        return Sender(host, zlib.crc32(headers.get(FILE) or b""), zone)

    def _measure(self, record: Record, lines: int, ignored: int, unreadable: int) -> None:
        self._recorder.add("sekimori_normalize_lines_total", lines - ignored - unreadable, record.topic, "event")
        self._recorder.add("sekimori_normalize_lines_total", ignored, record.topic, "ignored")
        self._recorder.add("sekimori_normalize_lines_total", unreadable, record.topic, "dead_letter")
        self._recorder.add("sekimori_normalize_forgotten_total", self._normalizer.forgotten - self._forgotten)
        self._forgotten = self._normalizer.forgotten

    def restart(self, position: int) -> None:
        """See ``PartitionStage``."""
        self.position = position

    def renew(self) -> None:
        """See ``PartitionStage``: every part is given anyway."""

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
        state = msgspec.msgpack.encode((self.position, self._normalizer.dump(), msgspec.Raw(self._passing.seen.dump())))
        yield StatePart(self._key, zlib.compress(state, 1), NEWEST)

    def load(self, saved: Iterable[StatePart]) -> None:
        """See ``PartitionStage``. Lines that are in the state already are joined again, which changes nothing."""
        for part in saved:
            if part.key == self._key:
                with loading(part, NEWEST):
                    state = zlib.decompress(part.value)
                    if part.version < 3:
                        self.position, dumped = msgspec.msgpack.decode(state, type=tuple[int, bytes])
                    else:
                        self.position, dumped, seen = msgspec.msgpack.decode(state, type=tuple[int, bytes, msgspec.Raw])
                        self._passing.seen.load(bytes(seen))
                    if part.version == 1:
                        self._normalizer.load_joined(dumped)
                    else:
                        self._normalizer.load(dumped)


def pieces(frame: bytes, size: int = PIECE) -> Iterator[bytes]:
    """A frame, cut after the last LF within each ``size`` bytes, or the first LF after them; mostly it is one."""
    start = 0
    while len(frame) - start > size:
        end = frame.rfind(b"\n", start, start + size) + 1 or frame.find(b"\n", start + size) + 1 or len(frame)
        yield frame[start:end]
        start = end
    if start < len(frame) or not frame:
        yield frame[start:]
