"""``pipeline.ports.RowStore`` on a ClickHouse server, by its native protocol."""

import logging
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pandas as pd
from clickhouse_driver import Client, errors

from pipeline.adapters.secrets import read_secret
from pipeline.adapters.stores.address import parsed
from pipeline.ports import StoreError, StoreUnavailable, Value
from pipeline.settings import Settings, SettingsError
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


class ClickHouse:
    """One connection, made when it is needed, made anew after an error. Not to be shared between threads."""

    def __init__(self, address: str, password_file: Path | None = None, ca: Path | None = None) -> None:
        """``address``: ``host:port`` or ``clickhouse[s]://[user[:password]@]host[:port][/base]``. ``password_file``: of
        the user; ``ca``: certificates that the server's must come from. Raises ValueError."""
        parts = parsed(address)
        self._url = parts.geturl()
        self._shown = parts.netloc.rpartition("@")[2]
        self._password_file, self._ca = password_file, ca
        self._client: Any = None
        logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)  # errors are raised, not logged as well

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The server that settings name. Raises SettingsError."""
        try:
            return cls(settings.clickhouse, settings.clickhouse_password_file, settings.clickhouse_ca)
        except ValueError as error:
            raise SettingsError(f"SEKIMORI_CLICKHOUSE: {error}") from None

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

    def _opened(self) -> Any:
        client = Client.from_url(self._url)
        connection = client.connection
        connection.connect_timeout = CONNECT_SECONDS
        connection.send_receive_timeout = REPLY_SECONDS
        if self._password_file is not None:
            connection.password = read_secret(self._password_file, "SEKIMORI_CLICKHOUSE_PASSWORD_FILE")
        if connection.secure_socket:
            # Without it the library takes a list of its own in place of the system's.
            connection.ssl_options["ca_certs"] = str(self._ca or ssl.get_default_verify_paths().cafile or "")
        return client

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        if self._client is None:
            self._client = self._opened()
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
