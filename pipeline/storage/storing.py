"""What is stored, and that it is stored once.

A raw frame's events are written whole, by one insert. Before that, the store is asked which of the frames it has
already: what a killed job had not committed comes again, and so does what a killed normaliser had sent. Rows are keyed
by where they were read (``ReplacingMergeTree``), so that even what slips through, when the server itself dies in the
middle of an insert, merges away.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from pipeline.ports import RowStore, Value
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
KnownFrames = dict[tuple[str, int], int]
"""(source, number of the frame) -> how many of its events the store knows of; 0 where that is in doubt"""
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


class EventFrame(msgspec.Struct, frozen=True):
    """The events of one raw frame. ``source``, ``offset``: where the raw frame lies."""

    source: str
    offset: int
    events: list[Event]


class EventRows(msgspec.Struct, frozen=True):
    """Rows of ``events``, of whole frames that are not stored yet; see ``unstored``.

    ``columns``: lists, or what an engine takes faster, but a list of ``time``. ``months``: those (YYYYMM, of UTC) in
    which rows may be there already, or twice, because an insert or the merge after it was cut off.
    """

    columns: Columns
    months: Collection[str]

    @property
    def number(self) -> int:
        """How many rows."""
        return len(self.columns["time"])


Storable = EventFrame | EventRows | Decision | Release | DeadLetter


def unstored(frames: Iterable[EventFrame], known: Mapping[tuple[str, int], int]) -> EventRows:
    """The rows of those frames that the store does not know whole. ``known``: as KnownFrames has it."""
    missing = [frame for frame in frames if known.get((frame.source, frame.offset), 0) < len(frame.events)]
    months = {month for f in missing if (f.source, f.offset) in known for month in _months(e.time for e in f.events)}
    return EventRows(event_columns((f.source, f.offset, f.events) for f in missing), months)


@dataclass
class Written:
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
        self.frames: list[EventFrame] = []
        self.rows: list[EventRows] = []
        self.decisions: list[Decision] = []
        self.releases: list[Release] = []
        self.dead_letters: list[DeadLetter] = []
        self.waiting = 0

    def add(self, message: Storable) -> None:
        """``waiting`` counts the rows."""
        if isinstance(message, EventFrame):
            self.frames.append(message)
            self.waiting += len(message.events)
        elif isinstance(message, EventRows):
            self.rows.append(message)
            self.waiting += message.number
        else:
            self.waiting += 1
            if isinstance(message, Decision):
                self.decisions.append(message)
            elif isinstance(message, Release):
                self.releases.append(message)
            else:
                self.dead_letters.append(message)

    def add_all(self, messages: Iterable[Storable]) -> None:
        """The same of several."""
        for message in messages:
            self.add(message)

    def flush(self) -> Written:
        """Writes everything. Raises StoreUnavailable, StoreError."""
        written = Written()
        try:
            self._write_events(written)
            self._write("decisions", decision_columns(self.decisions), "issued_at", written)
            self._write("releases", release_columns(self.releases), "time", written)
            self._write("dead_letters", dead_letter_columns(self.dead_letters), "time", written)
        except BaseException:
            self._doubtful = True
            self.rows = [EventRows(rows.columns, _months(map(utc, rows.columns["time"]))) for rows in self.rows]
            raise
        self._doubtful = False
        self.clear()
        return written

    def _write_events(self, written: Written) -> None:
        frames = _once(self.frames)
        rows = [self._missing(frames), *self.rows] if frames else self.rows
        for some in rows:
            self._write("events", some.columns, "time", written)
        for month in sorted({month for some in rows for month in some.months}):
            self._merge(month)
        if frames:
            written.repeated = sum(len(frame.events) for frame in self.frames) - rows[0].number

    def _missing(self, frames: Sequence[EventFrame]) -> EventRows:
        known = _counted(self._store, "rates_per_minute", "minute", "sum(events)", frames)
        stored = _counted(self._store, "events", "time", "count()", frames) if self._doubtful else {}
        rows = unstored(frames, dict.fromkeys(stored, 0) | known)
        most = {place: max(known.get(place, 0), stored.get(place, 0)) for place in known | stored}
        twice = [frame for frame in frames if most.get((frame.source, frame.offset), 0) > len(frame.events)]
        again = _months(event.time for frame in twice for event in frame.events)
        return EventRows(rows.columns, {*rows.months, *again})

    def _write(self, table: str, columns: Columns, time: str, written: Written) -> None:
        for part in _inserts(columns, time):
            self._store.insert(table, part)
        written.rows[table] = written.rows.get(table, 0) + len(columns[time])

    def _merge(self, month: str) -> None:
        """Lets rows that are there twice become one at once, not at some later merge."""
        for table in ("events", "rates_per_minute"):
            self._store.execute(f"OPTIMIZE TABLE {table} PARTITION {month} FINAL")


def _once(frames: Iterable[EventFrame]) -> list[EventFrame]:
    """Without frames that were sent twice, and without empty ones."""
    return list({(frame.source, frame.offset): frame for frame in frames if frame.events}.values())


def known_frames(store: RowStore, sources: Sequence[str]) -> KnownFrames:
    """Every frame of these sources that the store has something of."""
    known = _found(store, "events", "0", "", sources=tuple(sources))
    return known | _found(store, "rates_per_minute", "sum(events)", "", sources=tuple(sources))


def _counted(store: RowStore, table: str, time: str, count: str, frames: Sequence[EventFrame]) -> KnownFrames:
    """Those of these frames that a table has something of, and perhaps others of the same sources."""
    times = [event.time for frame in frames for event in frame.events]
    return _found(
        store,
        table,
        count,
        f"AND {time} BETWEEN :first AND :last AND frame BETWEEN :low AND :high",
        sources=tuple({frame.source for frame in frames}),
        first=_kept(min(times)) - timedelta(minutes=1),
        last=_kept(max(times)),
        low=min(frame.offset for frame in frames),
        high=max(frame.offset for frame in frames),
    )


def _found(store: RowStore, table: str, count: str, condition: str, **values: Value) -> KnownFrames:
    found = store.query(
        f"SELECT source, frame, {count} AS known FROM {table} "  # noqa: S608  # our own names
        f"WHERE source IN :sources {condition} GROUP BY source, frame",
        **values,
    )
    return dict(zip(zip(found["source"], found["frame"].tolist(), strict=True), found["known"].tolist(), strict=True))


def _kept(time: datetime) -> datetime:
    """A time as its column keeps it."""
    return min(max(time, utc(60)), utc(LATEST))


def _months(times: Iterable[datetime]) -> set[str]:
    """YYYYMM of them, in UTC."""
    return {f"{_kept(time):%Y%m}" for time in times}


def _inserts(columns: Columns, time: str) -> list[Columns]:
    """In parts of so many months that a server takes them. Rows of one frame and minute stay together."""
    stamps = columns[time]
    months: dict[int, list[int]] = {}
    if not stamps or max(stamps) - min(stamps) < MONTHS_AT_ONCE * 28 * 86400:
        return [columns]
    for row, stamp in enumerate(stamps):
        day = utc(stamp)
        months.setdefault((day.year * 12 + day.month) // MONTHS_AT_ONCE, []).append(row)
    return [{name: _at(values, rows) for name, values in columns.items()} for rows in months.values()]


def _at(values: Any, rows: Sequence[int]) -> Any:
    """Some rows of a column, by its own way if it has one (Arrow)."""
    return values.take(rows) if hasattr(values, "take") else [values[row] for row in rows]
