"""Opens an analytical store by its name."""

from pathlib import Path

from pipeline.adapters.stores.address import shown_address
from pipeline.ports import RowStore, StoreUnavailable


def open_store(place: str, password_file: Path | None = None, ca: Path | None = None) -> RowStore:
    """The folder or server that ``place`` names: a folder made by ``sekimori load``, or a server's address as
    ``SEKIMORI_CLICKHOUSE`` has it, with what else it takes. Raises StoreUnavailable if it can be neither."""
    # Imported here, since each is a large library, of which only one is needed, and the first may not be installed.
    if Path(place).is_dir():
        if not Path(place, "metadata").is_dir():  # it would be filled with the files of an empty store
            raise StoreUnavailable(f"{place} was not made by `sekimori load`: it holds no tables")
        try:
            from pipeline.adapters.stores.chdb_store import ChdbStore  # noqa: PLC0415
        except ImportError:
            raise StoreUnavailable(f"to open {place}, install chdb: pip install 'sekimori[analysis]'") from None
        return ChdbStore(Path(place))
    from pipeline.adapters.stores.clickhouse import ClickHouse  # noqa: PLC0415

    try:
        return ClickHouse(place, password_file, ca)
    except ValueError as error:
        raise StoreUnavailable(f"there is no folder {shown_address(place)}; for a server, {error}") from None
