"""The same line from two files: mail.log and syslog that hold the same, two senders of one host, a file that is sent
again. It counts once.

A line is known by its text, which names its host and its time, and by its number among the equal lines of its own file.
It counts if no other file had an equal one of that number before. So of lines that lie in several files as many count
as the file with the most of them has, and two equal failures within a second, in one file, are two. Lines of which no
file is told are of one and the same: what such a sender sends twice is not found.

It is applied to what lines say that counts, after they were joined, so that of a line that tells nothing in one file,
for want of another line, the copy counts that tells it. But failures need no other line to count, and would make each
other told before, as lines that begin a session would end it: where lines of all files are joined in one place, as in
the cluster, doubles of these are found before the join, and left out of it.

Memory is bounded: the last ``HALF`` to twice as many lines that count are known, of all files of a partition together.
What was not seen for the longest time is forgotten first, and then counts again.

Whom this can hurt: a line is left out if somebody sent the same text of the same host before as another file: he has to
write to the topic, and to know what the host is going to log, to the letter. Who fills the memory with other lines
brings about that doubles count, as they did before.
"""

from collections.abc import Iterable
from importlib.util import source_hash

import msgspec

from schemas.event import Event

HALF = 65_536
"""Lines until the older half is forgotten; about 200 bytes each in memory, 15 in a saved state."""
NAME = 8
"""Bytes of SipHash that name a line, with the host where the line names none. They are others under another version of
Python: after such an upgrade doubles of what came before it count."""

Counted = tuple[Event, str]
"""An event and its line."""
Numbers = int | dict[int, int]
"""The one file that had a line, once; else by file how many it had."""


class Doubles:
    """The lines that counted lately."""

    def __init__(self, half: int = HALF) -> None:
        self._half = half
        self._young: dict[bytes, Numbers] = {}
        self._old: dict[bytes, Numbers] = {}

    def among(self, counted: Iterable[Counted], file: int, host: str) -> list[Event]:
        """Which of these, in the order of their lines, are doubles; all of them are known from now on.

        ``file``: a number of the one that they come from; ``host``: whose lines they are, if they do not say it.
        """
        young, old = self._young, self._old
        doubles = []
        for event, line in counted:
            name = source_hash((line if event.host else f"{host} {line}").encode())  # as _name, without a call
            numbers = young.get(name)
            if numbers is None:
                numbers = old.pop(name, None) if old else None
                if numbers is None:
                    young[name] = file
                    continue
            of_file = {numbers: 1} if isinstance(numbers, int) else numbers
            number = of_file.get(file, 0) + 1
            if number <= max(of_file.values()):
                doubles.append(event)
            of_file[file] = number
            young[name] = of_file
        if len(young) > self._half:
            self._young, self._old = {}, young
        return doubles

    def dump(self) -> bytes:
        """The state."""
        return msgspec.msgpack.encode((self._old, self._young))

    def load(self, dumped: bytes) -> None:
        """Inverse of ``dump``. Raises msgspec.DecodeError."""
        self._old, self._young = msgspec.msgpack.decode(dumped, type=tuple[dict[bytes, Numbers], dict[bytes, Numbers]])


class LineNames(Doubles):
    """Finds no doubles, but notes the names of all lines that may be some: of one of several files that are read each
    by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._noted: list[bytes] = []

    def among(self, counted: Iterable[Counted], file: int, host: str) -> list[Event]:
        """None. See ``Doubles``."""
        self._noted += [_name(event, line, host) for event, line in counted]
        return []

    def take(self) -> bytes:
        """What was noted since the last call, ``NAME`` bytes each."""
        noted, self._noted = self._noted, []
        return b"".join(noted)


def _name(event: Event, line: str, host: str) -> bytes:
    """See ``NAME``."""
    return source_hash((line if event.host else f"{host} {line}").encode())


def before_join(counted: list[Counted], scattered: bool) -> list[Counted]:
    """Where lines of all files are joined in one place: those of which a double is not to be joined.

    ``scattered``: lines that belong together come in any order, so that none waits in vain for another.
    """
    if scattered:
        return [one for one in counted if one[0].kind not in _OF_KNOWN]
    return [one for one in counted if one[0].kind == "auth_failure"]


def after_join(counted: list[Counted], apart: bool, scattered: bool) -> list[Counted]:
    """All others that something counts, as they are after the join. ``apart``: there were no others before it."""
    kinds = _OF_KNOWN_ALONE if scattered and not apart else _COUNTED if apart else _COUNTED_LATE
    return [
        one
        for one in counted
        if (one[0].kind in kinds or (one[0].status == "bounced" and one[0].kind == "delivery"))
        and (one[0].account is not None or one[0].kind not in _OF_KNOWN)
    ]


_OF_KNOWN = frozenset(("delivery", "reject"))
"""What counts for an account alone, which another line may have to name"""
_OF_KNOWN_ALONE = frozenset(("reject",))
_COUNTED_LATE = frozenset(("submission", "auth_success", "reject"))
_COUNTED = _COUNTED_LATE | {"auth_failure"}
