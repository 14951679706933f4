"""What a round has left on the topics, held against what the same lines give when nothing breaks."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from pipeline.partition import Outgoing
from pipeline.ports import Record
from schemas.codec import decode_decision
from schemas.topics import ENFORCEMENT, EVENTS, TALLIES
from tests.support.cluster import TopicReader
from tests.support.stages import detect_stage, normalize_stage

PARTITIONS = 4
SHARED = ("country", "system")  # all hosts have a part in them, so that the order between partitions decides
Frame = tuple[bytes, bytes]


@dataclass
class Verdict:
    """``wrong``: what -> how many. ``settled``: everything has been worked on, and nothing is wrong."""

    lines: int = 0
    frames: int = 0
    decisions: int = 0
    wrong: dict[str, int] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """See above."""
        return not any(self.wrong.values())


def judge(bootstrap: str, hosts: int, written: list[bytes]) -> Verdict:
    """Reads everything anew. ``written``: every line."""
    raw, events, tallies, decided = (
        _read(bootstrap, *topics) for topics in (("maillog", "authlog"), ("events",), ("tallies",), ("enforcement",))
    )
    shipped = Counter(line for record in raw for line in (record.value or b"").split(b"\n"))
    wanted = Counter(written)
    out = [made for record, made in _normalized(raw)]
    told = {_identity(EVENTS.name, record.headers, None): record.value for record in events}
    right = {_identity(o.topic, o.headers, None): o.value for o in out if o.topic == EVENTS.name}
    told_tallies = {_identity(TALLIES.name, r.headers, r.partition): r.value for r in tallies if r.headers}
    right_tallies = {_identity(o.topic, o.headers, o.partition): o.value for o in out if o.topic == TALLIES.name}
    found = {decode_decision(record.value).id: record.value for record in decided if record.value is not None}
    recounted = {decode_decision(value).id: value for value in _decided(tallies)}
    undisturbed = _subjects(_undisturbed(out))
    return Verdict(
        lines=len(written),
        frames=len(right),
        decisions=len(recounted),
        wrong={
            "lines lost": (wanted - shipped).total(),
            "lines doubled": (shipped - wanted).total(),
            "frames of events lost or differing": len(right.items() ^ told.items()),
            "frames of tallies lost or differing": len(right_tallies.items() ^ told_tallies.items()),
            "decisions that differ from the tallies counted anew": len(recounted.items() ^ found.items()),
            "(kind, subject, rule) that differ from an undisturbed run": len(undisturbed ^ _subjects(found.values())),
        },
    )


def _read(bootstrap: str, *topics: str) -> list[Record]:
    with TopicReader(bootstrap, topics) as reader:
        records: list[Record] = []
        while reader.behind():
            records += reader.poll(0.2)
    return records


def _identity(topic: str, headers: object, partition: int | None) -> tuple[str, object, int | None]:
    return topic, tuple(sorted(dict(headers).items())), partition  # type: ignore[call-overload]


def _normalized(raw: list[Record]) -> list[tuple[Record, Outgoing]]:
    stages = {
        (topic, n): normalize_stage(f"{topic}-{n}", PARTITIONS)
        for topic in ("maillog", "authlog")
        for n in range(PARTITIONS)
    }
    return [(record, out) for record in raw for out in stages[record.topic, record.partition].process(record)]


def _decided(tallies: list[Record]) -> list[bytes]:
    stages = [detect_stage(n, PARTITIONS) for n in range(PARTITIONS)]
    return [
        out.value or b""
        for record in tallies
        for out in stages[record.partition].process(record)
        if out.topic == ENFORCEMENT.name
    ]


def _undisturbed(out: list[Outgoing]) -> list[bytes]:
    """Counts what was normalised, each accusation right after what brought it about."""
    stages, offsets, found = [detect_stage(n, PARTITIONS) for n in range(PARTITIONS)], defaultdict[int, int](int), []
    waiting = [o for o in out if o.topic == TALLIES.name][::-1]
    while waiting:
        o = waiting.pop()
        n = o.partition or 0
        record = Record(TALLIES.name, n, offsets[n], 0, None, o.value, o.headers)
        offsets[n] += 1
        for came in stages[n].process(record):
            if came.topic == ENFORCEMENT.name:
                found.append(came.value or b"")
            elif came.topic == TALLIES.name:
                waiting.append(came)
    return found


def _subjects(values: object) -> set[tuple[str, str, str]]:
    decisions = [decode_decision(value) for value in values]  # type: ignore[attr-defined]
    return {(d.subject_kind, d.subject, d.rule) for d in decisions if d.subject_kind not in SHARED}
