"""Every example beside a format: real lines, ignored lines, hostile lines, and what must come of them."""

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

import pipeline.formats
from pipeline.formats import FORMATS
from pipeline.formats.reading.format import Unreadable
from pipeline.formats.reading.lines import LineReader
from schemas.kinds import EventKind

FOLDER = Path(pipeline.formats.__file__).parent
REFERENCE = 1_796_083_200.0  # 2026-12-01
UNSET = {"count": 1}


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
EXAMPLES = [pytest.param(*example, id=f"{name}-{i}") for name, rows in FILES.items() for i, example in enumerate(rows)]


@pytest.mark.parametrize(("line", "expected", "hostile"), EXAMPLES)
def test_example(line: str, expected: Any, hostile: bool) -> None:
    outcome = LineReader().read(line, REFERENCE)
    if expected == "ignored":
        assert outcome is None
    elif "unreadable" in expected:
        assert isinstance(outcome, Unreadable), outcome
        assert (outcome.format, bool(outcome.reason)) == (expected["unreadable"], True)
    else:
        fields = UNSET | msgspec.to_builtins(outcome)
        assert {name: fields.get(name) for name in expected} == expected


def test_every_format_has_examples_of_lines_ignored_and_hostile() -> None:
    assert set(FILES) == {entry.name.replace("-", "_") for entry in FORMATS}
    for name, rows in FILES.items():
        assert any(expected == "ignored" for _, expected, _ in rows), name
        assert any(hostile for _, _, hostile in rows), name


def test_every_kind_of_event_has_an_example() -> None:
    kinds = {expected["kind"] for rows in FILES.values() for _, expected, _ in rows if "kind" in expected}
    assert kinds == set(get_args(EventKind))


def test_a_batch_gives_what_single_lines_give() -> None:
    lines = [line for rows in FILES.values() for line, _, _ in rows] * 2
    alone = [LineReader().read(line, REFERENCE) for line in lines]
    together, twice = LineReader(), LineReader()
    assert together.read_lines(lines, REFERENCE) == alone
    assert together.read_lines(lines, REFERENCE) == alone
    assert [outcome for line in reversed(lines) for outcome in twice.read_lines([line], REFERENCE)] == alone[::-1]


def test_every_readable_example_can_be_written_and_read_again() -> None:
    reader = LineReader()
    for rows in FILES.values():
        for line, _, _ in rows:
            outcome = reader.read(line, REFERENCE)
            if outcome is not None and not isinstance(outcome, Unreadable):
                assert msgspec.json.decode(msgspec.json.encode(outcome), type=type(outcome)) == outcome
