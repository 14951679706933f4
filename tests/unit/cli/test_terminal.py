"""What commands show: nothing drives a terminal, and a pipe gets what a terminal would."""

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline.cli.terminal import (
    lines_progress,
    parts_progress,
    plain_table,
    print_json,
    printable,
    safe,
    table_console,
)
from tests.support.decisions import decision


@given(st.text())
def test_nothing_unprintable_is_left_and_nothing_else_changes(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    assert all(a == b for a, b in zip(text, shown, strict=True) if a.isprintable())
    assert safe(text).plain == shown
    assert not safe(text).spans


def drawn(width: int) -> str:
    table = plain_table("name", "figure", "whole", right=("figure",), whole=("whole",))
    table.add_row(safe("[bold]" + "x" * 30 + "\x1b"), "1", "a b c d e f")
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    written = console.file.getvalue()  # type: ignore[attr-defined]  # the one given above
    assert isinstance(written, str)
    return written


def test_a_table_folds_names_and_keeps_what_must_stay_whole() -> None:
    assert drawn(80).splitlines()[1] == f"[bold]{'x' * 30}\N{REPLACEMENT CHARACTER}       1  a b c d e f"
    narrow = drawn(40).splitlines()
    assert all(len(line) <= 40 for line in narrow)
    assert narrow[1].endswith("1  a b c d e f")
    assert "".join(line[:21].rstrip() for line in narrow[1:]) == f"[bold]{'x' * 30}\N{REPLACEMENT CHARACTER}"


def test_a_pipe_is_as_wide_as_the_table_needs(capsys: pytest.CaptureFixture[str]) -> None:
    for stderr in (False, True):
        table_console(300, stderr=stderr).print("y" * 290)
        assert capsys.readouterr()[stderr] == "y" * 290 + "\n"


def test_structs_and_dataclasses_are_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    made = decision("alice@example.org")

    @dataclass(frozen=True)
    class Point:
        x: int
        at: datetime

    print_json(Point(3, datetime(2026, 11, 24, tzinfo=UTC)))
    print_json({"decisions": [made]})
    first, second = capsys.readouterr().out.splitlines()
    assert first == '{"x": 3, "at": "2026-11-24T00:00:00Z"}'
    assert json.loads(second)["decisions"][0]["id"] == made.id


def test_progress_is_silent_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with lines_progress("load", 0) as show_lines, parts_progress() as show_part:
        show_lines("a.log", 10, 3, 1)
        show_part("counting", 0.5)
    assert capsys.readouterr() == ("", "")
