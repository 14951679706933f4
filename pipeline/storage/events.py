"""Stored events read back, as the frames that they were stored from, in the order of replay.

The order is that of ``pipeline.replay``, by the names of the files that were loaded. So the same files give the same
decisions, loaded or not, with these exceptions: of several files with one base name, and of what an earlier version has
loaded, ties go by ``source``; what the cluster has stored goes by time and then by topic and partition, where the jobs
took what came first; and a frame that lies in two slices is two frames.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import repeat
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
import pandas as pd

from pipeline.normalize.normalizer import COUNTED, EPOCH
from pipeline.ports import RowStore, Value
from pipeline.replay import in_order, place_in_time
from pipeline.storage.rows import LATEST, MILLISECONDS
from pipeline.storage.sql import utc
from schemas.event import Event

SLICE: Final = 200_000  # events read at once; a single minute may hold more
MINUTE: Final = 60

_FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(Event))
_DEFAULTS: Final = {"host": "", "program": "", "count": 1}
_PLAIN: Final = ("kind", "host", "program", "count")  # never missing
# What tallies are made of: all else stays where it is.
_NEEDED: Final = ("kind", "program", "service", "account", "client_ip", "sender", "nrcpt", "status", "reason", "dsn",
                  "count", "country", "network", "channel")  # fmt: skip
_WITHIN: Final = "time >= :since AND time < :until"
_COUNTS: Final = "kind IN :kinds AND (kind != 'delivery' OR status = 'bounced')"


@dataclass(frozen=True)
class Slice:
    """A part of the store that is read at once: event times from ``since`` up to, not including, ``until`` (seconds
    since 1970, whole minutes), and how many events that are counted lie in it."""

    since: int
    until: int
    events: int


def slices(store: RowStore, since: float, until: float, size: int = SLICE) -> list[Slice]:
    """What is stored between two times (seconds since 1970, infinite for no end), in order, in parts of ``size`` events
    where minutes allow it. Raises StoreError, StoreUnavailable."""
    since, until = max(0.0, since) // MINUTE * MINUTE, min(float(LATEST), until)
    found = store.query(
        f"SELECT intDiv(toUInt32(time), {MINUTE}) AS minute, count() AS n FROM events "
        f"WHERE {_WITHIN} AND {_COUNTS} GROUP BY minute ORDER BY minute",
        **_between(since, until),
    )
    parts: list[Slice] = []
    for minute, number in zip(found["minute"].tolist(), found["n"].tolist(), strict=True):
        at = minute * MINUTE
        if parts and parts[-1].events + number <= size:
            parts[-1] = Slice(parts[-1].since, at + MINUTE, parts[-1].events + number)
        else:
            parts.append(Slice(at, at + MINUTE, number))
    return parts


def rows_of(store: RowStore, part: Slice) -> pd.DataFrame:
    """The rows of a slice, each once, by source, frame and record, for ``frames_of``: events that count, and the first
    one of each frame, which tells the frame's place in time. Raises StoreError, StoreUnavailable."""
    return store.query(
        f"SELECT toUInt32(time) AS seconds, {MILLISECONDS}, {', '.join(_NEEDED)}, source, frame FROM events "
        f"WHERE {_WITHIN} AND (record = 0 OR {_COUNTS}) "
        "ORDER BY source, frame, record LIMIT 1 BY source, frame, record",
        **_between(part.since, part.until),
    )


def _between(since: float, until: float) -> dict[str, Value]:
    return {"kinds": tuple(sorted(COUNTED)), "since": utc(since), "until": utc(until)}


def source_names(store: RowStore) -> dict[str, str]:
    """source -> base name of the file that was loaded as it, by which ties go; others have none. Raises StoreError,
    StoreUnavailable."""
    loads = store.query("SELECT * FROM loads")
    if "source" not in loads:  # a store that an earlier version made
        return {}
    loads = loads[loads["source"] != ""].sort_values(["time", "lines"])  # a file that has grown, or was renamed
    return dict(zip(loads["source"], loads["name"], strict=True))


def frames_of(rows: pd.DataFrame, names: Mapping[str, str] = MappingProxyType({})) -> list[list[Event]]:
    """Rows -> the frames that they came in, in the order of replay. ``names``: as ``source_names`` found them. So a
    frame that lies in two slices is two frames, and what came late is where its time is."""
    columns = {name: rows[name].tolist() for name in rows.columns}
    events = events_of(columns)
    streams: dict[str, list[list[Event]]] = {}
    for start, end in _runs(rows["source"], rows["frame"]):
        streams.setdefault(columns["source"][start], []).append(events[start:end])
    merged = in_order(list(streams.values()), [names.get(source, source) for source in streams], place_in_time)
    return [frame for _, frame in merged]


def _runs(*columns: pd.Series) -> Iterator[tuple[int, int]]:
    """First row, and the row after the last, of each run of equal values."""
    length = len(columns[0])
    changed = np.zeros(length, bool)
    for column in columns:
        codes = column.factorize()[0]
        changed[1:] |= codes[1:] != codes[:-1]
    starts = [0, *np.flatnonzero(changed).tolist()] if length else []
    return zip(starts, [*starts[1:], length], strict=False)


def events_of(columns: Mapping[str, Sequence[Any]]) -> list[Event]:
    """Columns of ``events`` -> the events; ``seconds`` may stand for ``time``. The inverse of
    ``pipeline.storage.rows.event_columns``, but that times are cut to milliseconds, and that columns may be missing."""
    seconds = columns["seconds"] if "seconds" in columns else columns["time"]
    time_of = lru_cache(maxsize=1 << 16)(_time)
    given: list[Iterable[Any]] = []
    for name in _FIELDS:
        if name == "time":
            given.append(map(time_of, seconds, columns[MILLISECONDS]))
        elif name not in columns:
            given.append(repeat(_DEFAULTS.get(name)))
        elif name in _PLAIN:
            given.append(columns[name])
        else:
            given.append([value or None for value in columns[name]])
    return [Event(*row) for row in zip(*given, strict=False)]


def _time(seconds: int, milliseconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds, milliseconds=milliseconds)
