"""More partitions of ``tallies``: what was counted of a subject goes where it is counted from now on.

The new number is a multiple of the old one. So all subjects of a new partition come from one old one, and which frames
that one has counted is true of the new one as well: what is sent again is known there, too.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from pipeline.detect.brake import BrakeState
from pipeline.detect.decide import Episode
from pipeline.detect.shard import SavedShard, check_number
from pipeline.detect.stage import BRAKE_PART, NEWEST, POSITION_PART, SOURCES_PART
from pipeline.partition import StatePart, loading, partition_of_subject
from pipeline.sources import Sources


def resplit(parts: Iterable[StatePart], partition: int, before: int, after: int) -> Iterator[tuple[int, StatePart]]:
    """The saved state of one of ``before`` partitions -> those of the partitions that its subjects go to, of ``after``,
    a multiple: the same one, and new ones. For each part that was saved, one of each.

    Raises StateUnreadable.
    """
    prefix = f"{partition}/".encode()
    children = range(partition, after, before)
    for part in parts:
        if not part.key.startswith(prefix):
            continue
        name = part.key.removeprefix(prefix)
        with loading(part, NEWEST):
            values = _values(name, part.value, children, after)
        for child, value in zip(children, values, strict=True):
            yield child, StatePart(f"{child}/".encode() + name, value, NEWEST, part.after)


def _values(name: bytes, value: bytes, children: Sequence[int], partitions: int) -> list[bytes]:
    """A part for each of the ``children``; the first is the partition that there was before."""
    if name == SOURCES_PART:
        known = Sources()
        known.load(value)
        return [known.dump()] * len(children)
    if name == POSITION_PART:
        return [b"%d" % int(value), *(b"-1" for _ in children[1:])]
    if name == BRAKE_PART:
        spread = msgspec.msgpack.decode(value, type=BrakeState).spread(len(children))
        return [msgspec.msgpack.encode(state) for state in spread]
    check_number(int(name))
    return [shard.dump() for shard in _shards(SavedShard.load(value), children, partitions)]


def _shards(saved: SavedShard, children: Sequence[int], partitions: int) -> list[SavedShard]:
    shards = {child: SavedShard(-1, {}, [], saved.rules) for child in children}
    shards[children[0]].position = saved.position
    for kind, states in saved.states.items():
        for subject, state in states.items():
            # Whom the partition was never given is of no use to anybody.
            if (shard := shards.get(partition_of_subject(subject, partitions))) is not None:
                shard.states.setdefault(kind, {})[subject] = state
    for rule, kind, subject, episode in saved.episodes:
        own = partition_of_subject(subject, partitions)
        for child, shard in shards.items():
            if (known := episode if child == own else _heard(episode)) is not None:
                shard.episodes.append((rule, kind, subject, known))
    return list(shards.values())


def _heard(episode: Episode) -> Episode | None:
    """What a partition knows of another's subject: that it was released, since all hear of that."""
    if not episode.released_at:
        return None
    return Episode(0.0, episode.counted_from, 0, set(), episode.counted_from, episode.released_at)
