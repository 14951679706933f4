"""Which frames were counted: what a worker that had been killed sends again must not count twice.

Frames of a source come in order, and not of each of them something comes to a partition. So what was counted is kept as
runs: offsets with gaps of ``GAP`` at most between them. A frame that claims to be further ahead begins a run of its
own. If it was true, its successors go on from there; if somebody made it up, nothing but that one offset, and not all
that come before it, counts as counted.
"""

from typing import Final, Literal

import msgspec

GAP: Final = 1_000
"""Frames in succession of which nothing comes to this partition. By each message that he forges somebody who may write
to the topic can hide this many frames of a source at most, in one partition."""
MAX_RUNS: Final = 64
MAX_SOURCES: Final = 8_192

Run = list[int]
"""First and last offset."""
Place = Literal["next", "again", "ahead"]
"""``again``: the frame was counted before. ``ahead``: it was not, and is more than ``GAP`` ahead of what was."""


class Sources:
    """Runs of offsets by source, such as ``maillog-3``. Where there are too many runs, or too many sources, the
    shortest are forgotten: forged ones, most likely."""

    def __init__(self) -> None:
        self._runs: dict[str, list[Run]] = {}

    def count(self, source: str, offset: int) -> Place:
        """Where this frame lies; from now on it is counted."""
        runs = self._runs.get(source)
        if runs is None:
            if len(self._runs) >= MAX_SOURCES:
                self._forget()
            self._runs[source] = [[offset, offset]]
            return "next"
        for run in reversed(runs):
            if run[0] <= offset <= run[1]:
                return "again"
            if run[1] < offset <= run[1] + GAP:
                run[1] = offset
                return "next"
        if len(runs) >= MAX_RUNS:
            runs.remove(min(runs, key=_length))
        runs.append([offset, offset])
        runs.sort()
        return "ahead"

    def _forget(self) -> None:
        """The shortest, several at once: whoever makes up sources must not make us look through all for each."""
        length = {source: max(map(_length, runs)) for source, runs in self._runs.items()}
        for source in sorted(length, key=length.__getitem__)[: MAX_SOURCES // 8]:
            del self._runs[source]

    def dump(self) -> bytes:
        """For ``load``."""
        return msgspec.msgpack.encode(self._runs)

    def load(self, saved: bytes) -> None:
        """Inverse of ``dump``; versions before kept the last offset alone, and took all before it as counted. Raises
        msgspec.DecodeError, ValueError."""
        known = msgspec.msgpack.decode(saved, type=dict[str, int | list[tuple[int, int]]])
        self._runs = {
            source: [[0, of]] if isinstance(of, int) else [list(run) for run in of] for source, of in known.items()
        }
        if not all(self._runs.values()):
            raise ValueError("a source without a frame")


def _length(run: Run) -> int:
    return run[1] - run[0]
