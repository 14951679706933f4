"""When restrictions are over: by the second, so that a million of them are added, found and let go of in small steps.

An agent must answer within milliseconds meanwhile.
"""

from collections.abc import Generator, Sequence
from heapq import heapify, heappop, heappush
from math import ceil

from pipeline.enforce.terms import Restriction


class Due:
    """Restrictions by the first whole second at which they are over. Those that are not ``live`` any more may
    be there for a while."""

    def __init__(self) -> None:
        self._by_second: dict[int, list[Restriction]] = {}
        self._seconds: list[int] = []  # a heap
        self._number = 0
        self._added: dict[int, list[Restriction]] = {}  # of everybody who takes ``parts`` at the moment

    def add_all(self, restrictions: Sequence[Restriction]) -> None:
        """So many more."""
        by_second = self._by_second
        for restriction in restrictions:
            second = ceil(restriction.expires_at)
            some = by_second.get(second)
            if some is None:
                by_second[second] = [restriction]
                heappush(self._seconds, second)
            else:
                some.append(restriction)
        self._number += len(restrictions)
        for added in self._added.values():
            added.extend(restrictions)

    def over(self, now: float, most: int) -> list[Restriction]:
        """Takes out those that are over at ``now``; returns the live ones, at most ``most``."""
        found: list[Restriction] = []
        while self._seconds and self._seconds[0] <= now and len(found) < most:
            second = self._seconds[0]
            some = self._by_second[second]
            while some and len(found) < most:
                restriction = some.pop()
                self._number -= 1
                if restriction.live:
                    found.append(restriction)
            if not some:
                heappop(self._seconds)
                del self._by_second[second]
        return found

    def hidden(self, now: float, size: int) -> Generator[list[Restriction]]:
        """The live ones that are over at ``now`` and were not taken out yet, at most ``size`` at a time."""
        begun, places = [], [0]
        while places:
            place = places.pop()
            if place < len(self._seconds) and self._seconds[place] < now + 1:
                begun.append(self._seconds[place])
                places += (2 * place + 1, 2 * place + 2)  # in a heap nothing below is less
        for second in begun:
            some = self._by_second.get(second, ())
            for start in range(0, len(some), size):
                yield [r for r in some[start : start + size] if r.live and r.expires_at <= now]

    def forget_dead(self) -> None:
        """Takes out those that are not live."""
        for second, some in list(self._by_second.items()):
            alive = [r for r in some if r.live]
            if alive:
                self._by_second[second] = alive
            else:
                del self._by_second[second]
        self._seconds = list(self._by_second)
        heapify(self._seconds)
        self._number = sum(map(len, self._by_second.values()))

    def parts(self, size: int) -> Generator[list[Restriction]]:
        """The live ones, about ``size`` at a time, and in the end what was added meanwhile, some of it again. Several
        may take them at once."""
        added: list[Restriction] = []
        self._added[id(added)] = added
        part: list[Restriction] = []
        try:
            for second in list(self._by_second):
                some = self._by_second.get(second, ())
                for start in range(0, len(some), size):
                    part += [r for r in some[start : start + size] if r.live]
                    if len(part) >= size:
                        yield part
                        part = []
            yield [r for r in part if r.live]
            place = 0
            while place < len(added):
                place += size
                yield [r for r in added[place - size : place] if r.live]
        finally:  # who takes them may stop in the middle
            del self._added[id(added)]

    def clear(self) -> None:
        """Takes out all, one by one."""
        while self._by_second:
            _, some = self._by_second.popitem()
            while some:
                some.pop()
        self._seconds.clear()
        self._number = 0

    def __len__(self) -> int:
        return self._number
