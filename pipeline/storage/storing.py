"""What is stored, and that it is stored once.

A raw frame's events are written whole, by one insert. Before that, the store is asked which of the frames it has
already: what a killed job had not committed comes again, and so does what a killed normaliser had sent. Rows are keyed
by where they were read (``ReplacingMergeTree``), so that even what slips through, when the server itself dies in the
middle of an insert, merges away.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from pipeline.ports import RowStore
from pipeline.storage.rows import (
    LATEST,
    Columns,
    Release,
    dead_letter_columns,
    decision_columns,
    event_columns,
    release_columns,
)
from pipeline.storage.sql import utc
from schemas.ddl import Migration, added_column, migrations
from schemas.dead_letter import DeadLetter
from schemas.enforcement import Decision
from schemas.event import Event

MONTHS_AT_ONCE = 50  # a server takes rows of at most 100 partitions in one insert
Values = Sequence[Any]  # of one column
TABLES = ("events", "rates_per_minute", "decisions", "releases", "dead_letters")


def apply_ddl(store: RowStore, files: Sequence[Migration] | None = None) -> list[str]:
    """Makes what is missing; what is there stays as it is. Returns the names of the files."""
    applied = migrations() if files is None else files
    for migration in applied:
        for statement in migration.statements:
            column = added_column(statement)
            if column is None or not _has_column(store, *column):
                store.execute(statement)
    return [migration.name for migration in applied]


def _has_column(store: RowStore, table: str, column: str) -> bool:
    found = store.query(
        "SELECT count() AS n FROM system.columns WHERE database = currentDatabase() AND table = :t AND name = :c",
        t=table,
        c=column,
    )
    return bool(found["n"][0])


def drop_before(store: RowStore, day: date) -> list[str]:
    """Retention: drops whole months (of UTC) that ended before ``day``. Returns ``table/YYYYMM`` of what went."""
    first_kept = day.year * 100 + day.month
    gone = []
    for table in TABLES:
        found = store.query(
            "SELECT DISTINCT partition FROM system.parts WHERE active AND database = currentDatabase() AND table = :t",
            t=table,
        )
        for month in sorted(found["partition"]):
            if int(month) < first_kept:
                store.execute(f"ALTER TABLE {table} DROP PARTITION {int(month)}")
                gone.append(f"{table}/{month}")
    return gone


class Frame(msgspec.Struct, frozen=True):
    """The events of one raw frame. ``source``, ``offset``: where the raw frame lies."""

    source: str
    offset: int
    events: list[Event]


@dataclass
class Stored:
    """Rows written by a ``flush``, and events left out because they were there already."""

    rows: dict[str, int] = field(default_factory=dict)
    repeated: int = 0


class Sink:
    """Collects what is to be stored. ``flush`` writes it; if that raises, everything is kept for another try."""

    def __init__(self, store: RowStore) -> None:
        self._store = store
        # After a start, and after any failure, it is unknown what a half-done insert has left.
        self._doubtful = True
        self.clear()

    def clear(self) -> None:
        """Forgets what is not written, because it will come again."""
        self.frames: list[Frame] = []
        self.decisions: list[Decision] = []
        self.releases: list[Release] = []
        self.dead_letters: list[DeadLetter] = []
        self.waiting = 0

    def add(self, message: Frame | Decision | Release | DeadLetter) -> None:
        """``waiting`` counts the rows."""
        if isinstance(message, Frame):
            self.frames.append(message)
            self.waiting += len(message.events)
            return
        self.waiting += 1
        if isinstance(message, Decision):
            self.decisions.append(message)
        elif isinstance(message, Release):
            self.releases.append(message)
        else:
            self.dead_letters.append(message)

    def flush(self) -> Stored:
        """Writes everything. Raises StoreUnavailable, StoreError."""
        stored = Stored()
        try:
            self._write_events(stored)
            self._write("decisions", decision_columns(self.decisions), "issued_at", stored)
            self._write("releases", release_columns(self.releases), "time", stored)
            self._write("dead_letters", dead_letter_columns(self.dead_letters), "time", stored)
        except BaseException:
            self._doubtful = True
            raise
        self._doubtful = False
        self.clear()
        return stored

    def _write_events(self, stored: Stored) -> None:
        frames = _once(self.frames)
        if not frames:
            return
        first, last = _span(frames)
        have = _counts(self._store, "rates_per_minute", "minute", "sum(events)", frames, first, last)
        missing = [frame for frame in frames if have.get((frame.source, frame.offset), 0) < len(frame.events)]
        half = {}
        if self._doubtful and missing:
            half = _counts(self._store, "events", "time", "count()", missing, first, last)
        self._write("events", event_columns((f.source, f.offset, f.events) for f in missing), "time", stored)
        again = [f for f in missing if (f.source, f.offset) in half or (f.source, f.offset) in have]
        for month in sorted({month for frame in again for month in months_of(frame)}):
            merge(self._store, month)
        stored.repeated = sum(len(f.events) for f in self.frames) - sum(len(f.events) for f in missing)

    def _write(self, table: str, columns: Columns, time: str, stored: Stored) -> None:
        for part in inserts(columns, time):
            self._store.insert(table, part)
        stored.rows[table] = len(columns[time])


def _once(frames: Iterable[Frame]) -> list[Frame]:
    """Without frames that were sent twice, and without empty ones."""
    return list({(frame.source, frame.offset): frame for frame in frames if frame.events}.values())


def _span(frames: Iterable[Frame]) -> tuple[datetime, datetime]:
    times = [event.time for frame in frames for event in frame.events]
    return _kept(min(times)) - timedelta(minutes=1), _kept(max(times))


def _kept(time: datetime) -> datetime:
    """A time as its column keeps it."""
    return min(max(time, utc(60)), utc(LATEST))


def _counts(
    store: RowStore, table: str, time: str, count: str, frames: Sequence[Frame], first: datetime, last: datetime
) -> dict[tuple[str, int], int]:
    """(source, offset) -> how many events of the frame the table knows of."""
    found = store.query(
        f"SELECT source, frame, {count} AS known FROM {table} "  # noqa: S608  # our own names
        f"WHERE {time} BETWEEN :first AND :last AND source IN :sources AND frame BETWEEN :low AND :high "
        "GROUP BY source, frame",
        first=first,
        last=last,
        sources=tuple({frame.source for frame in frames}),
        low=min(frame.offset for frame in frames),
        high=max(frame.offset for frame in frames),
    )
    keys = zip(found["source"], found["frame"], strict=True)
    return dict(zip(keys, found["known"], strict=True))


def merge(store: RowStore, month: str) -> None:
    """Lets rows that are there twice become one at once, not at some later merge."""
    for table in ("events", "rates_per_minute"):
        store.execute(f"OPTIMIZE TABLE {table} PARTITION {month} FINAL")


def months_of(frame: Frame) -> set[str]:
    """YYYYMM of its events, in UTC."""
    return {f"{_kept(event.time):%Y%m}" for event in frame.events}


def _at(values: Values, rows: Sequence[int]) -> Values:
    return [values[row] for row in rows]


def inserts(
    columns: Columns, time: str, at: Callable[[Values, Sequence[int]], Values] = _at
) -> Iterable[Mapping[str, Values]]:
    """In parts of so many months that a server takes them. Rows of one frame and minute stay together.

    ``at`` gives the values of some rows of a column; the column of the time is a list.
    """
    stamps = columns[time]
    months: dict[int, list[int]] = {}
    if not stamps or max(stamps) - min(stamps) < MONTHS_AT_ONCE * 28 * 86400:
        return [columns]
    for row, stamp in enumerate(stamps):
        day = utc(stamp)
        months.setdefault((day.year * 12 + day.month) // MONTHS_AT_ONCE, []).append(row)
    return [{name: at(values, rows) for name, values in columns.items()} for rows in months.values()]
