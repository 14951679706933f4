"""``pipeline.ports.RowStore`` in a folder: today's ClickHouse engine within this process, no server.

One process at a time can have a folder open, and a process one folder at a time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
from chdb import ChdbError
from chdb.session import Session

from pipeline.ports import StoreError, StoreUnavailable, Value
from pipeline.storage.rows import Columns
from pipeline.storage.sql import bound

_ARROW: tuple[tuple[str, pa.DataType], ...] = (
    ("DateTime", pa.uint32()),
    ("String", pa.string()),
    ("UInt16", pa.uint16()),
    ("UInt32", pa.uint32()),
    ("UInt64", pa.uint64()),
    ("Float64", pa.float64()),
    ("Array(String)", pa.list_(pa.string())),
)
_PACKED = (pa.Array, pa.ChunkedArray)
_TEXT, _NUMBER = pa.string(), pa.int64()


class ChdbStore:
    """A folder as a store; made if it is not there, readable by its owner alone. Raises StoreUnavailable."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._session = Session(str(folder))
        except RuntimeError as error:
            raise StoreUnavailable(
                f"{folder} cannot be opened; another command or notebook may have it open ({_short(error)})"
            ) from None
        self._types: dict[str, dict[str, pa.DataType]] = {}

    def execute(self, sql: str, **values: Value) -> None:
        """See ``pipeline.ports.RowStore``."""
        self._types.clear()
        with _translated():
            self._session.query(bound(sql, values))

    def query(self, sql: str, **values: Value) -> pd.DataFrame:
        """See ``pipeline.ports.RowStore``."""
        with _translated():
            found = self._session.query(bound(sql, values), "DataFrame")
        return pd.DataFrame({name: _series(found[name]) for name in found.columns})

    def pack(self, table: str, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """See ``pipeline.ports.RowStore``."""
        types = self._columns_of(table)
        return {
            name: values.cast(types[name]) if isinstance(values, _PACKED) else pa.array(values, types[name])
            for name, values in columns.items()
        }

    def insert(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """See ``pipeline.ports.RowStore``."""
        rows = pa.table(self.pack(table, columns))
        if rows.num_rows == 0:
            return
        names = ", ".join(columns)
        # Equal rows of one insert need not be merged at once: that would take half of its time.
        how = "SETTINGS optimize_on_insert = 0"
        with _translated():
            self._session.query(f"INSERT INTO {table} ({names}) {how} SELECT {names} FROM Python(rows)")  # noqa: S608

    def close(self) -> None:
        """See ``pipeline.ports.RowStore``."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _columns_of(self, table: str) -> dict[str, pa.DataType]:
        if table not in self._types:
            found = self.query(
                "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = :t", t=table
            )
            if found.empty:
                raise StoreError(f"there is no table {table}")
            pairs = zip(found["name"], found["type"], strict=True)
            self._types[table] = {name: _arrow(kind) for name, kind in pairs}
        return self._types[table]


def to_bytes(columns: Columns) -> bytes:
    """Rows of texts and whole numbers, at least one, for a process that has a store open; this one need not have."""
    rows = pa.table({name: pa.array(v, _TEXT if isinstance(v[0], str) else _NUMBER) for name, v in columns.items()})
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, rows.schema) as stream:
        stream.write_table(rows)
    return out.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow is not typed


def from_bytes(packed: Iterable[bytes]) -> Columns:
    """What ``to_bytes`` has made, one below the other: ``insert`` takes it. ``time`` is a list."""
    rows = pa.concat_tables(pa.ipc.open_stream(part).read_all() for part in packed)
    return {name: rows[name] for name in rows.column_names} | {"time": rows["time"].to_pylist()}


def _arrow(kind: str) -> pa.DataType:
    return next(arrow for start, arrow in _ARROW if kind.startswith(start))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ChdbError) as error:  # which of the two depends on the order of installation
        raise StoreError(_short(error)) from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def _series(found: pd.Series) -> pd.Series:
    kind = found.dtype.kind
    if kind in "iu":
        return found.astype("int64")
    if kind == "f":
        return found.astype("float64")
    if kind == "M":
        return found.astype("datetime64[s, UTC]" if getattr(found.dtype, "tz", None) else "datetime64[s]")
    if found.dtype == object and len(found) and not isinstance(found.iloc[0], str):
        return pd.Series([list(value) for value in found], dtype="object")
    return found.astype("str") if found.dtype != object or len(found) else found
