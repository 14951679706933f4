"""Lines that operators found read wrongly, as ``reported.txt`` has them beside what is right."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.formats.reading.lines import LineReader
from schemas.event import Event
from tests.support.formats import REFERENCE, blocks


@pytest.mark.parametrize(("line", "expected", "_"), blocks(Path(__file__).parent / "reported.txt"))
def test_what_was_reported_is_right(line: str, expected: dict[str, Any], _: bool) -> None:
    outcome = LineReader().read(line, REFERENCE)
    assert isinstance(outcome, Event)
    fields = {"count": 1} | msgspec.to_builtins(outcome)
    assert {name: fields.get(name) for name in expected} == expected
