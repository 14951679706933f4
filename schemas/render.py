"""Writes ``rendered/*.schema.json`` and ``*.example.json``: run ``python -m schemas.render`` after a change."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from schemas import dead_letter, enforcement, event, setting, tally

MESSAGES: tuple[tuple[str, type[Any], tuple[Any, ...]], ...] = (
    ("events", event.Event, event.EXAMPLES),
    ("tallies", tally.Tally, tally.EXAMPLES),
    ("enforcement", enforcement.Decision, enforcement.EXAMPLES),
    ("settings", setting.Setting, setting.EXAMPLES),
    ("dead-letters", dead_letter.DeadLetter, dead_letter.EXAMPLES),
)
FOLDER = Path(__file__).parent / "rendered"


def rendered() -> Iterator[tuple[str, str]]:
    """(file name, content) of every rendered file."""
    for topic, kind, examples in MESSAGES:
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | msgspec.json.schema(kind)
        yield f"{topic}.schema.json", json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        yield f"{topic}.example.json", json.dumps(msgspec.to_builtins(examples), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes every rendered file."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in rendered():
        (FOLDER / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
