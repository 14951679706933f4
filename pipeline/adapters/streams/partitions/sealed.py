"""Which of the states on a topic counts: a state has a seal, which names every part of it, and is whole if it has them.

Of those that are whole, the one that is furthest.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from pipeline.adapters.streams.partitions.lives import Mark
from pipeline.partition import FORMAT, StatePart, StateUnreadable, loading
from pipeline.ports import Record

PIECES: Final = "pieces"  # header of a part that is written so: which of its two places they have, and how many
NEWEST: Final = 1  # version of the format of seals


class StateOfOtherNumber(StateUnreadable):
    """What was counted of a subject may lie in another partition now."""


class Seal(msgspec.Struct, frozen=True, array_like=True):
    """What makes a state whole. ``parts``: the keys of all of its parts, with those that this checkpoint left as they
    were. ``life``, ``topic_id``, ``marks``: see ``lives``; of the topic whose records the state has counted. ``of``:
    how many partitions that topic had, if it matters; 0: it does not, or an earlier version did not tell."""

    position: int
    parts: tuple[str, ...]
    life: int = 0
    topic_id: str = ""
    marks: tuple[Mark, ...] = ()
    of: int = 0


def part_of(record: Record) -> StatePart:
    """A record of a state topic. Raises StateUnreadable."""
    key, told = record.key or b"", dict(record.headers).get(FORMAT, b"1")
    try:
        return StatePart(key, record.value or b"", int(told or b""))
    except ValueError:
        raise StateUnreadable(f"the version of its format is {told!r}", key) from None


class Found(NamedTuple):
    """The state of a partition that is furthest. ``seal``: None if there is none, or if a former version wrote it.
    ``own``: the keys of its records; ``seen``: those of all states."""

    seal: Seal | None
    parts: list[Record]
    own: frozenset[bytes]
    seen: frozenset[bytes]


_State = dict[str, Record]
"""What a state has: name of the part, "" for the seal -> record."""


def furthest(name: str, partition: int, saved: Iterable[Record], of: int) -> Found:
    """``name``: topic and partition whose records are counted; ``partition``: of the topic of states; ``of``: see
    ``Seal``. Raises StateUnreadable: there are seals, and no state is whole, which no fault of a worker brings about;
    and StateOfOtherNumber: there are none but such."""
    former, states = _sorted(name, partition, saved)
    keys = {id_: frozenset(record.key for record in state.values() if record.key) for id_, state in states.items()}
    seen = frozenset(former).union(*keys.values())
    try:
        found = _furthest(states, of)
    except StateOfOtherNumber:
        if not former:
            raise
        found = None
    if found is None:
        return Found(None, list(former.values()), frozenset(former), seen)
    seal, id_, parts = found
    return Found(seal, parts, keys[id_], seen)


def _sorted(name: str, partition: int, saved: Iterable[Record]) -> tuple[Mapping[bytes, Record], Mapping[str, _State]]:
    """The parts of the state that a former version wrote, by key, and of the states with an id, by id."""
    former: dict[bytes, Record] = {}
    states: defaultdict[str, _State] = defaultdict(dict)
    start = f"{name}.".encode()
    for record in saved:
        key = record.key or b""
        if key.startswith(start):
            id_, _, part = key.removeprefix(start).decode("utf-8", "backslashreplace").partition("/")
            states[id_][part] = record
        elif key == name.encode() or key.startswith(b"%d/" % partition):
            former[key] = record
    return former, states


def _furthest(states: Mapping[str, _State], of: int) -> tuple[Seal, str, list[Record]] | None:
    """The seal, the id and the parts of the whole state that is furthest."""
    every = [(_seal(state[""]), id_) for id_, state in states.items() if "" in state]
    seals = sorted((sealed for sealed in every if sealed[0].of in (of, 0)), key=_how_far, reverse=True)
    for seal, id_ in seals:
        parts = [_whole(states[id_], name) for name in seal.parts]
        if None not in parts:
            return seal, id_, [part for part in parts if part is not None]
    if seals:
        raise StateUnreadable("parts of it are missing", states[seals[0][1]][""].key or b"")
    if every:
        seal, id_ = max(every, key=_how_far)
        raise StateOfOtherNumber(f"of {seal.of}, not of {of}", states[id_][""].key or b"")
    return None


def _how_far(sealed: tuple[Seal, str]) -> tuple[int, int, int, str]:
    """Of two that are as far, one that an earlier version wrote, and that tells no number, is the older one."""
    seal, id_ = sealed
    return seal.life, seal.position, seal.of, id_


def _seal(record: Record) -> Seal:
    part = part_of(record)
    with loading(part, NEWEST):
        return msgspec.msgpack.decode(part.value, type=Seal)


def _whole(state: _State, name: str) -> Record | None:
    """A part of a state under the key that its stage gave it, with its pieces put together; None if it is not whole."""
    record = state.get(name)
    if record is None:
        return None
    value, key = record.value or b"", name.encode()
    told = dict(record.headers).get(PIECES)
    if told is not None:
        try:
            place, count = map(int, told.split())
        except ValueError:
            raise StateUnreadable(f"it does not say of which pieces it is, but {told!r}", record.key or b"") from None
        found = [state.get(piece_key(key, place, number).decode()) for number in range(min(count, 1 << 20))]
        if None in found:
            return None
        value = b"".join(piece.value or b"" for piece in found if piece is not None)
    return Record(record.topic, record.partition, record.offset, record.timestamp_ms, key, value, record.headers)


def piece_key(key: bytes, place: int, number: int) -> bytes:
    """Where a piece of a large part lies. ``key``: of the part; ``place``: one of its two."""
    return b"%s~%d.%d" % (key, place, number)
