"""The states of a streaming job on their compacted topic: read when a partition is opened, written in checkpoints.

Partition n of the topic holds the states of partition n of every topic that the job reads. The version of a part's
format is a header of its message, so that a worker of a version that told none yet reads the very same parts.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from pipeline.partition import FORMAT, Outgoing, PartitionStage, StatePart, StateUnreadable
from pipeline.ports import BrokerUnavailable, PartitionLog, Record
from schemas.topics import Topic

PATIENCE: Final = 30.0  # seconds that reading is tried again while the broker does not answer
_away = retry_if_exception_type(BrokerUnavailable)
patiently = retry(retry=_away, wait=wait_fixed(1.0), stop=stop_after_delay(PATIENCE), reraise=True)


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


class StateTopic:
    """Saved states, by partition. ``brokers``: of ``log``, as operators have to write them."""

    def __init__(self, log: PartitionLog, brokers: str, topic: Topic) -> None:
        self._log, self._brokers, self._topic = log, brokers, topic.name

    @patiently
    def read(self, partition: int) -> list[Record]:
        """The last record of each key, deleted ones left out. Raises BrokerUnavailable, TopicMissing."""
        saved: dict[bytes, Record] = {}
        for record in self._log.read(self._topic, partition, 0):
            if record.key is not None:
                saved[record.key] = record
        return [record for record in saved.values() if record.value is not None]

    def load(self, stage: PartitionStage, partition: int, saved: Iterable[Record]) -> None:
        """Gives a new stage what was read. Raises StateUnreadable, whose message says what an operator can do."""
        try:
            stage.load(map(part_of, saved))
        except StateUnreadable as error:
            key = error.key.decode("utf-8", "backslashreplace")
            key = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in key)
            raise StateUnreadable(
                f"the state in {self._topic}, partition {partition}, key {key}, cannot be read: {error}. Start the "
                f"version of sekimori that wrote it; or stop the job and delete the state of this partition, with: "
                f"{self._deletion(partition)}; then {stage.without_state}",
                error.key,
            ) from error

    def message(self, part: StatePart, partition: int) -> Outgoing:
        """A part as it is written."""
        return Outgoing(self._topic, part.value, part.key, partition, ((FORMAT, b"%d" % part.version),))

    def _deletion(self, partition: int) -> str:
        where = f"-b {self._brokers} -t {self._topic} -p {partition}"
        return f"kcat -C -q -e {where} -f '%k:\\n' | sort -u | kcat -P {where} -K : -Z"


def part_of(record: Record) -> StatePart:
    """A record of a state topic. Raises StateUnreadable."""
    key, told = record.key or b"", dict(record.headers).get(FORMAT, b"1")
    try:
        return StatePart(key, record.value or b"", int(told or b""))
    except ValueError:
        raise StateUnreadable(f"the version of its format is {told!r}", key) from None
