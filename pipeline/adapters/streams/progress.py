"""Whether work goes on. After a broker that hung, or a rebalance within a rebalance, Faust's consumer may wait for ever
for an answer that nobody owes it: it holds partitions, or waits for them, and nothing comes. Only from outside is that
seen: messages wait, and none arrives."""

from collections.abc import Collection, Iterable
from typing import Final

from faust.types import TP

ONE_STALLED: Final = 600.0  # seconds that one partition may wait while work on others goes on: frames may be large


class Progress:
    """Times are seconds by the monotonic clock. ``patience``: seconds without a part of the group, or without a
    message though messages wait, after which a job is stuck. ``waiting``: partitions whose messages wait for long."""

    def __init__(self, patience: float, now: float) -> None:
        self.waiting: frozenset[TP] = frozenset()
        self._patience = patience
        self._joined_at = self._moved_at = now
        self._came: dict[TP, float] = {}

    def came(self, tp: TP, now: float) -> None:
        """A message of the partition is worked on, or there is none that could be."""
        self._came[tp] = now

    def moved(self, now: float) -> None:
        """Something is worked on."""
        self._moved_at = now

    def quiet(self, assigned: Iterable[TP], now: float) -> list[TP]:
        """The partitions of this worker of which nothing has come for long; the others are forgotten."""
        self._came = {tp: self._came.get(tp, now) for tp in assigned}
        return [tp for tp, came in self._came.items() if now - came > self._patience]

    def stuck(self, now: float, joined: bool, waiting: Collection[TP], heard_since: float) -> str:
        """Why the job should begin anew; "" if it should not. ``joined``: it has its part of the group. ``waiting``: of
        the quiet partitions, those with a message that nobody has worked on. ``heard_since``: when the broker came back
        after a silence, which is no fault of the job."""
        self.waiting = frozenset(waiting)
        if joined:
            self._joined_at = now
        if (waited := now - max(self._joined_at, heard_since)) > self._patience:
            return f"the group has given it no part for {waited:.0f} s"
        for tp in sorted(waiting):
            idle, alone = now - max(self._moved_at, heard_since), now - max(self._came[tp], heard_since)
            if idle > self._patience or alone > ONE_STALLED:
                return f"messages of {tp.topic}, partition {tp.partition}, wait, and none has come for {alone:.0f} s"
        return ""
