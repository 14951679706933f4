"""Bounded memory: what was not touched for long is forgotten."""

from collections.abc import Iterable
from typing import Generic, TypeVar

V = TypeVar("V")
Key = tuple[str, str]
"""A host, and an id of its own; the host is "" for ids that all hosts share."""
Dumped = list[list[tuple[Key, V]]]


class Generations(Generic[V]):
    """A dict of at most ``limit`` entries that forgets the longest untouched half at a time.

    There are two generations: when the young one holds half the allowance it becomes the old one, and the old one is
    forgotten.
    """

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self.young: dict[Key, V] = {}
        self.old: dict[Key, V] = {}
        self.forgotten = 0

    def __bool__(self) -> bool:
        return bool(self.young or self.old)

    def get(self, key: Key) -> V | None:
        """The value; touching it makes it young again."""
        value = self.young.get(key)
        if value is None and self.old:
            value = self.old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: Key, value: V) -> None:
        """Sets a value, forgetting old ones if need be."""
        self.young[key] = value
        if len(self.young) > self._half:
            self.forgotten += len(self.old)
            self.old, self.young = self.young, {}

    def pop(self, key: Key) -> V | None:
        """Removes and returns a value."""
        value = self.young.pop(key, None)
        if self.old:
            older = self.old.pop(key, None)
            return older if value is None else value
        return value

    def dump(self) -> Dumped[V]:
        """Both generations, old first."""
        return [list(self.old.items()), list(self.young.items())]

    def load(self, dumped: Iterable[Iterable[tuple[Key, V]]]) -> None:
        """Inverse of ``dump``."""
        self.old, self.young = (dict(part) for part in dumped)
