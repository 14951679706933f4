"""Subjects of a partition that are saved together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args
from zlib import compress, crc32, decompress

import msgspec

from pipeline.detect.decide import Episode
from pipeline.partition import partition_of_subject
from pipeline.windows.layout import is_whole
from schemas.tally import CountedKind

SHARDS: Final = 32
KINDS: Final[tuple[CountedKind, ...]] = get_args(CountedKind)


@dataclass
class Shard:
    """``position``: up to where it has counted. ``states``: windows of subjects, by kind; ``episodes``: by rule, kind
    and subject. ``dirty``: it is not saved as it is."""

    position: int = -1
    dirty: bool = False
    states: dict[CountedKind, dict[str, bytearray]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    episodes: dict[tuple[str, CountedKind, str], Episode] = field(default_factory=dict)


def shard_of(shards: Sequence[Shard], subject: str) -> Shard:
    """Where a subject is kept."""
    return shards[crc32(subject.encode()) >> 8 & SHARDS - 1]


class SavedShard(msgspec.Struct, array_like=True):
    """A shard as it is saved. ``rules``: the fingerprint of those that it was judged by."""

    position: int
    states: dict[CountedKind, dict[str, bytearray]]
    episodes: list[tuple[str, CountedKind, str, Episode]]
    rules: bytes = b""

    def dump(self) -> bytes:
        """Compressed."""
        return compress(msgspec.msgpack.encode(self), 1)

    @classmethod
    def load(cls, dumped: bytes) -> "SavedShard":
        """Inverse of ``dump``. Raises zlib.error, msgspec.DecodeError, ValueError."""
        saved = msgspec.msgpack.decode(decompress(dumped), type=cls)
        if not all(is_whole(state) for of in saved.states.values() for state in of.values()):
            raise ValueError("windows are cut off")
        return saved

    def split(self, children: Sequence[int], partitions: int) -> "list[SavedShard]":
        """That of each partition in ``children``, of ``partitions``; the first one is where it was saved."""
        shards = {child: SavedShard(-1, {}, [], self.rules) for child in children}
        shards[children[0]].position = self.position
        for kind, states in self.states.items():
            for subject, state in states.items():
                # Whom the partition was never given is of no use to anybody.
                if (shard := shards.get(partition_of_subject(subject, partitions))) is not None:
                    shard.states.setdefault(kind, {})[subject] = state
        for rule, kind, subject, episode in self.episodes:
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


def check_number(number: int) -> None:
    """Raises ValueError if there is no such shard."""
    if not 0 <= number < SHARDS:
        raise ValueError(f"there are {SHARDS} shards, and no {number}")
