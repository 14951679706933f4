"""The tables of the analytical store: ``clickhouse/NNNN_name.sql``, in order of their numbers.

Files are append-only: what has been applied somewhere is never changed, a later file alters it. They use only what
ClickHouse 18.16, today's ClickHouse and chdb have in common: no TTL, no DateTime64, no IPv6, no LowCardinality, no
``ADD COLUMN IF NOT EXISTS``.
"""

import re
from dataclasses import dataclass
from importlib import resources

_ADDED = re.compile(r"ALTER TABLE (\w+) ADD COLUMN (\w+) ")
_NAME = re.compile(r"(\d{4})_[a-z_]+\.sql")


@dataclass(frozen=True)
class Migration:
    """One file. ``statements`` can be repeated without harm, but those that add a column."""

    number: int
    name: str
    statements: tuple[str, ...]


def migrations() -> tuple[Migration, ...]:
    """Every file, in order."""
    files = (resources.files("schemas") / "clickhouse").iterdir()
    numbered = ((_NAME.fullmatch(file.name), file.read_text(encoding="utf-8")) for file in files)
    found = [Migration(int(match[1]), match[0], _statements(text)) for match, text in numbered if match]
    return tuple(sorted(found, key=lambda migration: migration.number))


def added_column(statement: str) -> tuple[str, str] | None:
    """(table, column) that a statement adds; it must be left out where the column is there."""
    added = _ADDED.match(statement)
    return None if added is None else (added[1], added[2])


def _statements(text: str) -> tuple[str, ...]:
    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return tuple(part.strip() for part in code.split(";") if part.strip())
