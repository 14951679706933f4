"""The states of a streaming job on their compacted topic: read when a partition is opened, written in checkpoints.

Partition n of the topic holds the states of partition n of every topic that the job reads.

Whoever opens a partition writes a state of his own: its keys begin with an id that nobody had before. A checkpoint ends
with a seal, which names every part of the state; a state counts if it has its seal and all of those parts. So a worker
that was frozen, and comes back when another has long gone on, writes to nobody's state but his own, which is true as
far as he had come. The state that is furthest is loaded. When a new owner's first checkpoint is whole, it deletes the
states that it has seen at the opening.

The version of a part's format is a header of its message. States of earlier versions have no id and no seal.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from pipeline.adapters.streams.partitions.lives import Mark
from pipeline.adapters.streams.partitions.sealed import (
    NEWEST,
    PIECES,
    Found,
    Seal,
    StateOfOtherNumber,
    furthest,
    part_of,
    piece_key,
)
from pipeline.partition import FORMAT, Outgoing, PartitionStage, StatePart, StateUnreadable
from pipeline.ports import BrokerUnavailable, Outbox, PartitionLog, Record
from schemas.topics import Topic

PATIENCE: Final = 60.0  # seconds that reading is tried again while the broker does not answer
PIECE: Final = 4 * 1_048_576  # bytes of a message at most: a larger part is written as several
ANOTHER_NUMBER: Final = (
    "only `sekimori prepare --tallies N` changes it and takes along what was counted; if it was changed in another "
    "way, count anew: stop normalize and detect, delete tallies and detect-state, and prepare again"
)
_away = retry_if_exception_type(BrokerUnavailable)
patiently = retry(retry=_away, wait=wait_fixed(1.0), stop=stop_after_delay(PATIENCE), reraise=True)
S = TypeVar("S", bound=PartitionStage)


class Step(NamedTuple):
    """A message to be written. ``after``: not before all earlier ones are safe."""

    out: Outgoing
    after: bool


@dataclass(frozen=True)
class Checkpoint:
    """A state that is being saved. ``start``: the position that it includes once all of its ``parts`` are written."""

    parts: Iterator[StatePart]
    start: int

    def take(self, seconds: float) -> tuple[list[StatePart], bool]:
        """As many parts as can be made in that time, and whether these were the last."""
        deadline, taken = time.monotonic() + seconds, []
        for part in self.parts:
            taken.append(part)
            if time.monotonic() > deadline:
                return taken, False
        return taken, True


@dataclass
class Writer:
    """How the state of one opening is written. ``former``: keys of other states, to be deleted once this one is whole.
    ``name``: topic and partition that it is of, such as ``maillog-3``; ``partition``: of the topic of states. ``of``:
    see ``Seal``."""

    topic: str
    partition: int
    name: str
    former: set[bytes] = field(default_factory=set)
    piece: int = PIECE
    of: int = 0
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    _parts: dict[bytes, str] = field(default_factory=dict)
    _places: dict[bytes, int] = field(default_factory=dict)

    def part(self, part: StatePart) -> Iterator[Step]:
        """A part as it is written. The pieces of a large one go where those of the last time are not, and count from
        the moment on when the part itself says so: whenever that is cut off, one of both is whole."""
        key, version = self._key(part.key.decode()), (FORMAT, b"%d" % part.version)
        self._parts[part.key] = part.key.decode()
        if len(part.value) <= self.piece:
            yield self._step(key, part.value, part.after, version)
            return
        place = self._places[part.key] = 1 - self._places.get(part.key, 1)
        count = -(-len(part.value) // self.piece)
        for number in range(count):
            value = part.value[number * self.piece : (number + 1) * self.piece]
            yield self._step(piece_key(key, place, number), value, part.after, version)
        yield self._step(key, b"-", True, version, (PIECES, b"%d %d" % (place, count)))

    def seal(self, position: int, life: int, topic_id: str, marks: Iterable[Mark]) -> Step:
        """The end of a checkpoint."""
        seal = Seal(position, tuple(self._parts.values()), life, topic_id, tuple(marks), self.of)
        return self._step(self._key(), msgspec.msgpack.encode(seal), True, (FORMAT, b"%d" % NEWEST))

    def deletions(self) -> list[Outgoing]:
        """To be written once this state is whole."""
        former, self.former = self.former, set()
        return [Outgoing(self.topic, None, key, self.partition) for key in sorted(former)]

    def renewed(self) -> "Writer":
        """Of another state, which is to take the place of this one."""
        own = {self._key(), *(self._key(name) for name in self._parts.values())}
        return Writer(self.topic, self.partition, self.name, self.former | own, self.piece, self.of)

    def _key(self, part: str | None = None) -> bytes:
        return f"{self.name}.{self.id}{'' if part is None else '/' + part}".encode()

    def _step(self, key: bytes, value: bytes, after: bool, *headers: tuple[str, bytes]) -> Step:
        return Step(Outgoing(self.topic, value, key, self.partition, headers), after)


class Opened(NamedTuple, Generic[S]):
    """A partition's state, loaded. ``seal``: of the state that was loaded; None if there was none, or a former one."""

    stage: S
    seal: Seal | None
    writer: Writer


class StateTopic:
    """Saved states, by partition. ``piece``: bytes of a message at most. ``of``: how many partitions the topic has that
    is counted, if states are of use for that number alone."""

    def __init__(self, log: PartitionLog, topic: Topic, piece: int = PIECE, of: int = 0) -> None:
        self._log, self._topic, self._piece, self._of = log, topic.name, piece, of

    @patiently
    def read(self, partition: int) -> list[Record]:
        """The last record of each key, deleted ones left out. Raises BrokerUnavailable, TopicMissing."""
        saved: dict[bytes, Record] = {}
        for record in self._log.read(self._topic, partition, 0):
            if record.key is not None:
                saved[record.key] = record
        return [record for record in saved.values() if record.value is not None]

    def open(self, make: Callable[[], S], topic: str, partition: int, saved: Iterable[Record]) -> Opened[S]:
        """A new stage of the topic's partition, with the state that is furthest, of those in ``saved``.

        Raises StateUnreadable, whose message says what an operator can do.
        """
        stage = make()
        try:
            found = self.find(topic, partition, saved)
            stage.load(map(part_of, found.parts))
        except StateOfOtherNumber as error:
            raise StateOfOtherNumber(
                f"the state in {self._topic}, partition {partition}, is of another number of partitions of {topic}: "
                f"{error}; {ANOTHER_NUMBER}",
                error.key,
            ) from error
        except StateUnreadable as error:
            key = error.key.decode("utf-8", "backslashreplace")
            key = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in key)
            raise StateUnreadable(
                f"the state in {self._topic}, partition {partition}, key {key}, cannot be read: {error}. Start the "
                f"version of sekimori that wrote it; or stop the job and delete the state of this partition, with: "
                f"sekimori prepare --forget-state {self._topic}/{partition}; then {stage.without_state}",
                error.key,
            ) from error
        stage.life = found.seal.life if found.seal else 0
        return Opened(stage, found.seal, self.writer(topic, partition, found.seen))

    def find(self, topic: str, partition: int, saved: Iterable[Record]) -> Found:
        """Of the states in ``saved``. Raises StateUnreadable, StateOfOtherNumber."""
        return furthest(f"{topic}-{partition}", partition, saved, self._of)

    def writer(self, topic: str, partition: int, former: Iterable[bytes] = ()) -> Writer:
        """Of a new state."""
        return Writer(self._topic, partition, f"{topic}-{partition}", set(former), self._piece, self._of)


def forget(log: PartitionLog, outbox: Outbox, topic: Topic, partition: int) -> int:
    """Deletes the states of a partition, by a tombstone for each key that was ever written; returns how many.

    Raises BrokerUnavailable, TopicMissing.
    """
    keys = {record.key for record in log.read(topic.name, partition, 0) if record.key is not None}
    for key in sorted(keys):
        outbox.send(topic.name, key, None, partition=partition)
    outbox.flush()
    return len(keys)
