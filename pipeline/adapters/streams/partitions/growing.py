"""More partitions of ``tallies``, and what was counted of each subject where it is counted from then on.

``normalize`` and ``detect`` are stopped meanwhile, and everything is counted and saved. First the states for the new
number are written beside those that there are. Then ``tallies`` gets its partitions: until then jobs go on from the
states of before, and from then on from the new ones, since a state tells which number it is of. So it may be broken off
at any moment: what was begun is thrown away when it is run again.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Final

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from pipeline.adapters.kafka.client import KafkaLog
from pipeline.adapters.kafka.found import members_of, topics_found
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.security.access import Cluster
from pipeline.adapters.kafka.topics import TopicReport, add_partitions
from pipeline.adapters.streams.partitions.lives import reading
from pipeline.adapters.streams.partitions.sealed import Found, part_of
from pipeline.adapters.streams.partitions.states import StateTopic, patiently
from pipeline.detect.stage import POSITION_PART, resplit
from pipeline.partition import StateUnreadable
from pipeline.ports import BrokerUnavailable, Outbox, PartitionLog, TopicMissing
from schemas.topics import DETECT_STATE, TALLIES

GROUPS: Final = {"sekimori-normalize": "normalize", "sekimori-detect": "detect"}
PIECE: Final = 524_288  # bytes: an outbox takes messages of 1 MiB at most
READY: Final = 30.0  # seconds until new partitions have a leader
_soon = retry(
    retry=retry_if_exception_type((BrokerUnavailable, TopicMissing)),
    wait=wait_fixed(0.2),
    stop=stop_after_delay(READY),
    reraise=True,
)


class GrowthRefused(ValueError):
    """It cannot be done, or not now; the message says why, and what to do."""


def grow_tallies(cluster: Cluster, partitions: int, dry_run: bool = False) -> list[TopicReport]:
    """Gives ``tallies`` so many partitions, a multiple of what it has, and ``detect-state`` as many at least.

    Raises GrowthRefused, TopicMissing, BrokerUnavailable, AccessRefused.
    """
    found = topics_found(cluster, [TALLIES.name, DETECT_STATE.name])
    before, states = found[TALLIES.name].partitions, found[DETECT_STATE.name].partitions
    check_number(before, partitions)
    growth = Growth(KafkaLog(cluster), found[TALLIES.name].id, before, partitions)
    if before == partitions:
        growth.check_states()
    else:
        add_partitions(cluster, TALLIES.name, partitions, only_ask=True)
        _check_stopped(cluster)
        counted = growth.check()
        if not dry_run:
            if states < partitions:
                add_partitions(cluster, DETECT_STATE.name, partitions)
                _wait_for(cluster, DETECT_STATE.name, partitions)
            with KafkaOutbox(cluster) as outbox:
                growth.write(outbox)
            _check_stopped(cluster)
            if growth.check() != counted:
                raise GrowthRefused("a job worked meanwhile: stop normalize and detect, and try again")
            add_partitions(cluster, TALLIES.name, partitions)
            _wait_for(cluster, TALLIES.name, partitions)
    then = f"set SEKIMORI_PARTITIONS={partitions} for every job and command, then start normalize and detect"
    return [
        _report(cluster.topic(TALLIES.name), before, partitions, then),
        _report(cluster.topic(DETECT_STATE.name), states, max(states, partitions)),
    ]


def check_number(before: int, after: int) -> None:
    """Raises GrowthRefused."""
    if after < before:
        raise GrowthRefused(
            f"{TALLIES.name} has {before} partitions, and cannot have fewer; with fewer, count anew: stop normalize "
            f"and detect, delete {TALLIES.name} and {DETECT_STATE.name}, and prepare with that number"
        )
    if after % before:
        raise GrowthRefused(
            f"{TALLIES.name} has {before} partitions, and can get a multiple of that: {before * (after // before)} or "
            f"{before * (after // before + 1)}, not {after}"
        )


def _report(name: str, before: int, after: int, *advice: str) -> TopicReport:
    if before == after:
        return TopicReport(name, "present", after, advice=advice)
    return TopicReport(name, "grown", after, advice=advice, before=before)


@patiently
def _members(cluster: Cluster) -> dict[str, int]:
    return members_of(cluster, tuple(GROUPS))


def _check_stopped(cluster: Cluster) -> None:
    at_work = [f"{GROUPS[group]} ({number})" for group, number in _members(cluster).items() if number]
    if at_work:
        raise GrowthRefused(
            f"{' and '.join(at_work)} at work: stop all of them, and try again; one that was killed counts until its "
            "session is over"
        )


@_soon
def _wait_for(cluster: Cluster, topic: str, partitions: int) -> None:
    log = KafkaLog(cluster)
    for partition in range(partitions):
        log.end(topic, partition)


class Growth:
    """The states. ``topic_id``: of ``tallies``; ``before``, ``after``: how many partitions it has, and gets."""

    def __init__(self, log: PartitionLog, topic_id: str, before: int, after: int) -> None:
        self._log, self._topic_id, self._before, self._after = log, topic_id, before, after
        self._old = StateTopic(log, DETECT_STATE, PIECE, before)
        self._new = StateTopic(log, DETECT_STATE, PIECE, after)

    def check_states(self) -> None:
        """Raises GrowthRefused if states are of another number than ``before``, or cannot be read."""
        for partition in range(self._before):
            self._found(partition)

    def check(self) -> list[int]:
        """Up to where each partition is counted. Raises GrowthRefused unless that is all of it, and saved."""
        counted = []
        for partition in range(self._before):
            found = self._found(partition)
            position = _position(partition, found)
            known = found.seal.topic_id if found.seal else ""
            anew = known and self._topic_id and known != self._topic_id
            with closing(reading(self._log, TALLIES.name, partition, position + 1)) as records:
                if anew or next(records, None) is not None:
                    raise GrowthRefused(
                        f"{TALLIES.name}, partition {partition}, has messages that are not counted, or whose count is "
                        f"not saved: start detect alone, with SEKIMORI_PARTITIONS={self._before}, until "
                        "sekimori_stream_lag_messages is 0, stop it with SIGTERM, and try again"
                    )
            counted.append(position)
        return counted

    def write(self, outbox: Outbox) -> None:
        """Writes the states for the new number. What is left of an earlier try is deleted before."""
        for partition in range(self._before):
            found = self._found(partition)
            self._delete(outbox, partition, found.seen - found.own)
            for child in self._children(partition)[1:]:
                keys = {record.key for record in self._new.read(child)}
                self._delete(outbox, child, keys)
            outbox.flush()
            if found.parts:
                self._write(outbox, partition, found)

    def _write(self, outbox: Outbox, partition: int, found: Found) -> None:
        seal, position = found.seal, _position(partition, found)
        life, topic_id, marks = (seal.life, seal.topic_id, seal.marks) if seal else (0, "", ())
        writers = {child: self._new.writer(TALLIES.name, child) for child in self._children(partition)}
        with _naming(partition):
            for child, part in resplit(map(part_of, found.parts), partition, self._before, self._after):
                for out, _ in writers[child].part(part):
                    outbox.send(out.topic, out.key, out.value, out.headers, partition=out.partition)
        outbox.flush()
        for child, writer in writers.items():
            known = (position, life, topic_id, marks) if child == partition else (-1, life, topic_id, ())
            out, _ = writer.seal(*known)
            outbox.send(out.topic, out.key, out.value, out.headers, partition=out.partition)
        outbox.flush()

    def _found(self, partition: int) -> Found:
        with _naming(partition):
            return self._old.find(TALLIES.name, partition, self._old.read(partition))

    def _children(self, partition: int) -> range:
        return range(partition, self._after, self._before)

    @staticmethod
    def _delete(outbox: Outbox, partition: int, keys: Iterable[bytes | None]) -> None:
        for key in sorted(key for key in keys if key):
            outbox.send(DETECT_STATE.name, key, None, partition=partition)


@contextmanager
def _naming(partition: int) -> Iterator[None]:
    try:
        yield
    except StateUnreadable as error:
        raise GrowthRefused(
            f"the state in {DETECT_STATE.name}, partition {partition}, cannot be gone on with ({error}): start detect, "
            "which says what to do"
        ) from error


def _position(partition: int, found: Found) -> int:
    """Up to where it is counted; -1 if nothing is."""
    if found.seal is not None:
        return found.seal.position
    name = f"{partition}/".encode() + POSITION_PART
    return next((int(part.value or b"") for part in found.parts if part.key == name), -1)
