"""Saved states for the tests: recorded ones, damaged ones, and what only looks like one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from pipeline.partition import PartitionStage, StatePart, StateUnreadable


def saved_parts(path: Path) -> list[StatePart]:
    """A state in a file: key -> value, without versions."""
    saved = msgspec.msgpack.decode(path.read_bytes(), type=dict[bytes, bytes])
    return [StatePart(key, value) for key, value in saved.items()]


def cut(parts: Iterable[StatePart], number: int, length: int) -> list[StatePart]:
    """The same, but that part ``number`` ends early."""
    made = list(parts)
    number %= len(made)
    made[number] = made[number]._replace(value=made[number].value[: length % len(made[number].value)])
    return made


def structures() -> st.SearchStrategy[Any]:
    """What a msgpack encoder can write; some of it is near to what states hold."""
    leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text()
    keys = st.sampled_from(["account", "ip", "country", "system", ""])
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(), inner, max_size=4),
        max_leaves=20,
    )


def refused(stage: PartitionStage, *parts: StatePart) -> StateUnreadable | None:
    """Why the stage does not take the state; None if it does. It may raise nothing else."""
    try:
        stage.load(parts)
    except StateUnreadable as error:
        return error
    return None
