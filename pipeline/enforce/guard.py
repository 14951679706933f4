"""What stands on the topic ``enforcement`` by signature, and what must be written again because others hid it. Pure.

Compaction keeps the last message of each key, whoever wrote it: an unsigned tombstone is obeyed by nobody, but removes
what was signed. So whoever sweeps keeps the last message of each key that is to be obeyed, and writes it again as it
was, with its signature, when another has come after it. Not without end, though somebody does it without end: a key
once in ``REST`` seconds, and ``MOST`` messages at a time.
"""

from collections.abc import Callable
from typing import Final

from pipeline.detect.standing import Told, supersedes, told_of
from pipeline.ports import Record
from schemas.codec import DecodeError
from schemas.enforcement import OVER

REST: Final = 10.0
MOST: Final = 100


class Guard:
    """Takes the topic's records in their order, from its start. ``signed``: is a record's signature right?"""

    def __init__(self, signed: Callable[[Record], bool]) -> None:
        self._signed = signed
        self._standing: dict[bytes, tuple[Told, Record]] = {}
        self._lifting: set[bytes] = set()  # keys whose standing message is a tombstone
        self._hidden: dict[bytes, None] = {}  # keys whose last message is not the standing one, the longest first
        self._written: dict[bytes, float] = {}

    def take(self, record: Record, now: float) -> bool:
        """One record; is it to be obeyed? ``now``: seconds since 1970."""
        key, known = record.key or b"", self._standing.get(record.key or b"")
        if not self._obeyed(record, known, now):
            if known is not None:
                self._hidden[key] = None
            return False
        self._hidden.pop(key, None)
        self._lifting.discard(key)
        if any(name == OVER for name, _ in record.headers) and record.value is None:
            self._standing.pop(key, None)
            return True
        self._standing[key] = told_of(record), record
        if record.value is None:
            self._lifting.add(key)
        return True

    def again(self, at: float, most: int = MOST) -> list[Record]:
        """What is to be written again now, at most ``most``. ``at``: of a steady clock. To be asked once the topic's
        end was reached, and about once a second."""
        self._written = {key: before for key, before in self._written.items() if at - before < REST}
        found: list[Record] = []
        for key in self._hidden:
            if len(found) >= most:
                break
            if key not in self._written:
                found.append(self._standing[key][1])
        for record in found:
            self._written[record.key or b""] = at
        return found

    def issued(self, key: bytes) -> float | None:
        """When the decision was issued that stands under a key; None if none does."""
        known = self._standing.get(key)
        return None if known is None else known[0].issued

    def forget(self, now: float) -> None:
        """Lets go of tombstones whose decisions would be over by themselves. ``now``: seconds since 1970."""
        for key in [key for key in self._lifting if self._standing[key][0].until <= now]:
            self._lifting.discard(key)
            self._hidden.pop(key, None)
            del self._standing[key]

    def _obeyed(self, record: Record, known: tuple[Told, Record] | None, now: float) -> bool:
        if not self._signed(record):
            return False
        try:
            return supersedes(told_of(record), None if known is None else known[0], now)
        except DecodeError:
            return False
