"""Subjects of a partition that are saved together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, get_args
from zlib import crc32

from pipeline.detect.decide import Episode
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
