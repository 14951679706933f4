"""Every example beside a format: real lines, ignored lines, hostile lines, and what must come of them."""

import importlib
import re
from typing import Any, get_args

import msgspec
import pytest

from pipeline.formats import FORMATS
from pipeline.formats.reading.format import Role, Unreadable
from pipeline.formats.reading.lines import LineReader
from pipeline.formats.reading.programs import ROLES
from schemas.event import Event
from schemas.kinds import EventKind
from tests.support.formats import FILES, FOLDER, REFERENCE

UNSET = {"count": 1}
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


def test_every_failure_comes_from_a_program_with_a_role() -> None:
    """It tells how the failure counts, and which topic the line belongs on."""
    for name, rows in FILES.items():
        for line, _, _ in rows:
            outcome = LineReader().read(line, REFERENCE)
            if isinstance(outcome, Event) and outcome.kind == "auth_failure":
                assert ROLES.get(outcome.program) in FAILING, (name, line)


FAILING = {Role.MTA, Role.ACCESS, Role.SASL, Role.ASKED, Role.WEBMAIL}


class Hit:
    """A compiled pattern that knows whether it ever found something."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern
        self.hit = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._pattern, name)

        def call(*arguments: Any, **named: Any) -> Any:
            found = method(*arguments, **named)
            if name == "finditer":
                found = list(found)
            self.hit = self.hit or bool(found if name != "sub" else found != arguments[1])
            return found

        return call


def test_every_pattern_is_hit_by_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    hits: dict[tuple[str, str], Hit] = {}
    for name in {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}:
        module = importlib.import_module(f"pipeline.formats.{name}")
        for variable, pattern in [*vars(module).items()]:
            if isinstance(pattern, re.Pattern):
                hits[name, variable] = Hit(pattern)
                monkeypatch.setattr(module, variable, hits[name, variable])
    for rows in FILES.values():
        for line, _, _ in rows:
            LineReader().read(line, REFERENCE)
    assert len(hits) > 100
    assert sorted(which for which, pattern in hits.items() if not pattern.hit) == []


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
