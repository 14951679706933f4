"""``pipeline.ports.RowStore`` on a ClickHouse server, by its native protocol."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import urlsplit

import pandas as pd
from clickhouse_driver import Client, errors

from pipeline.ports import StoreError, StoreUnavailable, Value
from pipeline.storage.sql import bound

CONNECT_SECONDS = 5
REPLY_SECONDS = 120  # for an insert into a busy server
_LATER = frozenset(
    {
        3,  # UNEXPECTED_END_OF_FILE
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        159,  # TIMEOUT_EXCEEDED
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
    }
)


def check_address(address: str) -> None:
    """Raises ValueError if it is neither ``host:port`` nor ``clickhouse[s]://[user[:password]@]host[:port][/base]``."""
    try:
        parts = urlsplit(address if "://" in address else f"clickhouse://{address}")
        good = parts.scheme in ("clickhouse", "clickhouses") and bool(parts.hostname)
        good = good and ("://" in address or parts.port is not None)
    except ValueError:
        good = False
    if not good:
        raise ValueError(
            "the address of ClickHouse must be host:port, such as 127.0.0.1:9000, or clickhouse://user:password@host/base"
        )


class ClickHouse:
    """One connection, made when it is needed, made anew after an error. Not to be shared between threads."""

    def __init__(self, address: str) -> None:
        """``address``: see ``check_address``."""
        check_address(address)
        self._url = address if "://" in address else f"clickhouse://{address}"
        self._shown = urlsplit(self._url).netloc.rpartition("@")[2]
        self._client: Any = None
        logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)  # errors are raised, not logged as well

    def execute(self, sql: str, **values: Value) -> None:
        """See ``pipeline.ports.RowStore``."""
        with self._connected() as client:
            client.execute(bound(sql, values))

    def query(self, sql: str, **values: Value) -> pd.DataFrame:
        """See ``pipeline.ports.RowStore``."""
        with self._connected() as client:
            columns, named = client.execute(bound(sql, values), columnar=True, with_column_types=True)
        columns = columns or [()] * len(named)
        return pd.DataFrame({name: _series(kind, values) for (name, kind), values in zip(named, columns, strict=True)})

    def pack(self, table: str, columns: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """See ``pipeline.ports.RowStore``."""
        del table  # the client packs while it sends
        return columns

    def insert(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """See ``pipeline.ports.RowStore``. Goes out as one block, which the server takes whole or not at all."""
        data = list(columns.values())
        if not data or not data[0]:
            return
        settings = {"insert_block_size": len(data[0]) + 1}
        with self._connected() as client:
            statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES"
            client.execute(statement, data, columnar=True, settings=settings)

    def close(self) -> None:
        """See ``pipeline.ports.RowStore``."""
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        if self._client is None:
            self._client = Client.from_url(self._url)
            self._client.connection.connect_timeout = CONNECT_SECONDS
            self._client.connection.send_receive_timeout = REPLY_SECONDS
        try:
            yield self._client
        except errors.ServerException as error:
            self.close()
            text = error.message.partition("Stack trace")[0].strip().rstrip(".")
            if error.code in _LATER:
                raise StoreUnavailable(f"ClickHouse at {self._shown}: {text}") from None
            raise StoreError(f"ClickHouse at {self._shown}: {text}{_advice(error.code)}") from None
        except (errors.Error, OSError, EOFError) as error:
            self.close()
            raise StoreUnavailable(
                f"ClickHouse at {self._shown} does not answer ({error}); is it running? Set SEKIMORI_CLICKHOUSE"
            ) from None


def _advice(code: int) -> str:
    return "; make the tables with: sekimori prepare" if code in (60, 81) else ""


def _series(kind: str, values: Sequence[Any]) -> pd.Series:
    if kind.startswith(("Int", "UInt")):
        return pd.Series(values, dtype="int64")
    if kind.startswith("Float"):
        return pd.Series(values, dtype="float64")
    if kind.startswith("DateTime"):
        return pd.Series(pd.to_datetime(list(values), utc=True)).astype("datetime64[s, UTC]")
    if kind == "Date":
        return pd.Series(list(values), dtype="datetime64[s]")
    if kind.startswith("Array"):
        return pd.Series([list(value) for value in values], dtype="object")
    return pd.Series(list(values), dtype="str")
