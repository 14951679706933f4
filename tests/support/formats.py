"""The examples beside the formats."""

import json
from pathlib import Path
from typing import Any

import pipeline.formats

FOLDER = Path(pipeline.formats.__file__).parent
REFERENCE = 1_796_083_200.0  # 2026-12-01


def blocks(path: Path) -> list[tuple[str, Any, bool]]:
    """(line, what must come of it, whether a client's text in it imitates the server's)."""
    hostile, found = False, []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        rows = [row for row in block.split("\n") if row]
        hostile = hostile or "# hostile" in rows
        rows = [row for row in rows if not row.startswith("#")]
        if rows:
            line, expected = rows
            found.append((line, expected if expected == "ignored" else json.loads(expected), hostile))
    return found


FILES = {path.stem: blocks(path) for path in sorted(FOLDER.glob("*.txt"))}
