"""The work of ``jobs/detect`` on one partition of ``tallies``."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.brake import BrakeState
from pipeline.detect.detector import Detector, Findings
from pipeline.detect.release import Reached, Released
from pipeline.detect.shard import SHARDS, SavedShard, check_number
from pipeline.metrics import Recorder
from pipeline.partition import Outgoing, StatePart, loading, partition_of, source_of, unreadable
from pipeline.ports import Record
from pipeline.rules import RuleSet
from pipeline.sources import Sources
from pipeline.windows.peers import pack_network
from schemas.codec import decode_tallies, encode
from schemas.origin import RawFrame, origin_of
from schemas.tally import Tally
from schemas.topics import DEAD_LETTERS, ENFORCEMENT, TALLIES

NEWEST = 2  # version of the format that states are saved in; 1 kept one offset of each source, and knew no releases
_SOURCES_PART, POSITION_PART, _BRAKE_PART = b"sources", b"position", b"brake"

InForce = Callable[[], tuple[RuleSet, Allowlist]]
"""The rules and the allowlist that are to be used now."""


class DetectStage:
    """Tallies -> decisions and accusations, of one partition of ``tallies``. ``limit``: subjects remembered.

    ``releases``: gives what operators have lifted by now, of all partitions; another object after each change.
    """

    without_state = (
        "the tallies that its topic still keeps are counted again from the first; what is older is forgotten, and what "
        "was decided since is sent again with the same ids, also what was lifted"
    )

    def __init__(
        self,
        partition: int,
        partitions: int,
        recorder: Recorder,
        in_force: InForce,
        limit: int,
        releases: Callable[[], Sequence[Released]] = tuple,
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._recorder = recorder
        self._in_force = in_force
        self._releases = releases
        self._released: Sequence[Released] = ()
        self._reached = Reached()
        self.detector = Detector(*in_force(), limit, holds=True)
        self._evicted = 0
        self.life = 0

    @property
    def position(self) -> int:
        """See ``PartitionStage``."""
        return self.detector.position

    def process(self, record: Record) -> list[Outgoing]:
        """See ``PartitionStage``. Decisions have ids of their own, so that sending them again changes nothing."""
        self._release(self._releases())
        try:
            frame = origin_of(record.headers) or RawFrame("", 0)
            tallies = decode_tallies(record.value or b"")
            for tally in tallies:
                _check_network(tally)
        except ValueError as error:
            self.detector.position = record.offset
            return [self._dead_letter(record, str(error))]
        self._reached.note(record.timestamp_ms / 1000, max([t.at for t in tallies], default=0.0))
        findings = self.detector.count(tallies, record.offset, frame.source, frame.offset)
        self._measure(findings, len(tallies))
        out = []
        for decision in findings.decisions:
            self._recorder.add("sekimori_detect_decisions_total", 1, decision.rule, decision.mode)
            out.append(Outgoing(ENFORCEMENT.name, encode(decision), decision.key.encode()))
        for tally in findings.accusations:
            out.append(Outgoing(TALLIES.name, encode(tally), None, partition_of(tally, self._partitions)))
        return out

    def _dead_letter(self, record: Record, why: str) -> Outgoing:
        source = source_of(record.topic, record.partition, self.life)
        self._recorder.add("sekimori_detect_dead_letters_total")
        return Outgoing(DEAD_LETTERS.name, encode(unreadable(source, record, why)), record.key)

    def _measure(self, findings: Findings, tallies: int) -> None:
        self._recorder.add("sekimori_detect_tallies_total", tallies)
        self._recorder.add("sekimori_detect_repeated_frames_total", findings.repeated)
        self._recorder.add("sekimori_detect_frames_ahead_total", findings.ahead)
        self._recorder.add("sekimori_detect_allowed_total", findings.allowed)
        self._recorder.add("sekimori_detect_held_total", len(findings.held))
        self._recorder.add("sekimori_detect_evicted_total", self.detector.evicted - self._evicted)
        self._evicted = self.detector.evicted

    def restart(self, position: int) -> None:
        """See ``PartitionStage``. A frame that was counted and is sent again is known all the same."""
        self.detector.restart(position)

    def renew(self) -> None:
        """See ``PartitionStage``."""
        self.detector.renew()

    def refresh(self) -> None:
        """See ``PartitionStage``."""
        rules, allowlist = self._in_force()
        if rules is not self.detector.rules:
            self.detector.use(rules, allowlist)
        self._release(self._releases())
        self._recorder.set("sekimori_detect_subjects", self.detector.subjects(), str(self._partition))

    def _release(self, releases: Sequence[Released]) -> None:
        if releases is self._released:
            return
        self._released = releases
        for release in sorted(releases, key=lambda release: release.at):
            new = self.detector.release((release,), self._reached.at(release.at))
            self._recorder.add("sekimori_detect_releases_total", new)

    def save(self) -> Iterator[StatePart]:
        """See ``PartitionStage``. The offsets of the sources and the position come last, as they were before the first
        shard: so a checkpoint that was cut off is repeated from a position to which they belong."""
        sources, position = self.detector.sources(), self.position
        brake = self.detector.brake.dump()
        prefix = f"{self._partition}/".encode()
        for number in range(SHARDS):
            dumped = self.detector.dump(number)
            if dumped is not None:
                yield StatePart(prefix + str(number).encode(), dumped, NEWEST)
        if brake:
            yield StatePart(prefix + _BRAKE_PART, brake, NEWEST, after=True)
        yield StatePart(prefix + _SOURCES_PART, sources, NEWEST, after=True)
        yield StatePart(prefix + POSITION_PART, str(position).encode(), NEWEST, after=True)

    def load(self, saved: Iterable[StatePart]) -> None:
        """See ``PartitionStage``."""
        prefix = f"{self._partition}/".encode()
        for part in saved:
            if part.key.startswith(prefix):
                with loading(part, NEWEST):
                    self._load(part.key.removeprefix(prefix), part.value)

    def _load(self, name: bytes, value: bytes) -> None:
        if name == _SOURCES_PART:
            self.detector.load_sources(value)
        elif name == POSITION_PART:
            self.detector.position = int(value)
        elif name == _BRAKE_PART:
            self.detector.brake.load(value)
        else:
            self.detector.load(int(name), value)


def _check_network(tally: Tally) -> None:
    """Raises ValueError if a network is none."""
    network = tally.peer if tally.kind == "account" else tally.subject if tally.kind == "ip" else ""
    if network:
        pack_network(network)


# --- more partitions ------------------------------------------------------------------------------------------------


def resplit(parts: Iterable[StatePart], partition: int, before: int, after: int) -> Iterator[tuple[int, StatePart]]:
    """The saved state of one of ``before`` partitions -> those of the partitions that its subjects go to, of ``after``,
    a multiple: the same one, and new ones. For each part that was saved, one of each.

    All subjects of a new partition come from one old one, then. So which frames that one has counted is true of the new
    one as well: what is sent again is known there, too. Raises StateUnreadable.
    """
    prefix = f"{partition}/".encode()
    children = range(partition, after, before)
    for part in parts:
        if not part.key.startswith(prefix):
            continue
        name = part.key.removeprefix(prefix)
        with loading(part, NEWEST):
            values = _split(name, part.value, children, after)
        for child, value in zip(children, values, strict=True):
            yield child, StatePart(f"{child}/".encode() + name, value, NEWEST, part.after)


def _split(name: bytes, value: bytes, children: Sequence[int], partitions: int) -> list[bytes]:
    if name == _SOURCES_PART:
        known = Sources()
        known.load(value)
        return [known.dump()] * len(children)
    if name == POSITION_PART:
        return [b"%d" % int(value), *(b"-1" for _ in children[1:])]
    if name == _BRAKE_PART:
        spread = msgspec.msgpack.decode(value, type=BrakeState).spread(len(children))
        return [msgspec.msgpack.encode(state) for state in spread]
    check_number(int(name))
    return [shard.dump() for shard in SavedShard.load(value).split(children, partitions)]
