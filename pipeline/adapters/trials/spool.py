"""Tallies on disk between the two passes of a backtest: one file for each source, partition and sort of subject; and
what was decided, since all partitions need all of it."""

import heapq
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec

from pipeline.trials.backtest import TallyFrame
from schemas.enforcement import Decision

PENDING = 20_000  # tallies held back, of all partitions
_LENGTH = struct.Struct("<I")


def _path(folder: Path, leader: int, source: int, partition: int, accounts: bool) -> Path:
    return folder / f"{leader}-{source}-{partition}-{'accounts' if accounts else 'others'}"


class SpoolWriter:
    """Writes what one source gives. Context manager; raises OSError."""

    def __init__(self, folder: Path, leader: int, source: int, partitions: int) -> None:
        keys = [(accounts, partition) for accounts in (True, False) for partition in range(partitions)]
        self._files: dict[tuple[bool, int], BinaryIO] = {
            key: _path(folder, leader, source, key[1], key[0]).open("wb") for key in keys
        }
        self._waiting: dict[tuple[bool, int], list[TallyFrame]] = {key: [] for key in keys}
        self._held = 0
        self._encode = msgspec.msgpack.Encoder().encode

    def write(self, parts: Iterable[tuple[bool, int, TallyFrame]]) -> None:
        """The parts of one frame, see ``pipeline.trials.backtest.split``."""
        for accounts, partition, frame in parts:
            self._waiting[accounts, partition].append(frame)
            self._held += len(frame.places)
        if self._held >= PENDING:
            self._flush()

    def _flush(self) -> None:
        for key, frames in self._waiting.items():
            if frames:
                encoded = self._encode(frames)
                self._files[key].write(_LENGTH.pack(len(encoded)) + encoded)
                frames.clear()
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            for file in self._files.values():
                file.close()


def spooled(
    folder: Path, leader: int, partition: int, accounts: bool, numbers: Sequence[Sequence[int]]
) -> Iterator[TallyFrame]:
    """A partition's frames of all sources, in the order of ``numbers`` (source -> frame -> place in the whole replay,
    rising), and numbered by it. Raises OSError."""
    streams = [_numbered(_path(folder, leader, source, partition, accounts), of) for source, of in enumerate(numbers)]
    return heapq.merge(*streams, key=lambda frame: frame.number)


def _numbered(path: Path, numbers: Sequence[int]) -> Iterator[TallyFrame]:
    decoder = msgspec.msgpack.Decoder(list[TallyFrame])
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            for frame in decoder.decode(file.read(*_LENGTH.unpack(head))):
                frame.number = numbers[frame.number]
                yield frame


def save_decisions(folder: Path, decided: list[list[Decision]]) -> None:
    """Of each rule set. Raises OSError."""
    (folder / "decisions").write_bytes(msgspec.msgpack.encode(decided))


def load_decisions(folder: Path) -> list[list[Decision]]:
    """What ``save_decisions`` wrote. Raises OSError."""
    return msgspec.msgpack.decode((folder / "decisions").read_bytes(), type=list[list[Decision]])
