"""Frames of raw lines: what becomes of each line."""

from datetime import UTC

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.normalize.normalizer import MAX_RAW, Normalizer
from pipeline.rules import RuleSet, build
from pipeline.rules.config import load
from tests.support.lines import frame, sent

REFERENCE = 1_796_083_200.0  # 2026-12-01


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return build(load(None), "JP")


def normalizer(rules: RuleSet) -> Normalizer:
    return Normalizer(rules.file.trusted, UTC, lambda _: "BR")


@pytest.mark.parametrize(
    ("time", "readable"),
    [
        ("2026-12-01T23:59:59Z", True),
        ("2026-12-02T00:00:01Z", False),
        ("2099-01-01T00:00:00Z", False),
        ("9999-12-31T23:59:59Z", False),
        ("1999-01-01T00:00:00Z", True),
        ("1969-12-31T23:59:59Z", False),
        ("0001-01-01T00:00:00Z", False),
    ],
)
def test_a_clock_that_is_far_off_poisons_nothing(rules: RuleSet, time: str, readable: bool) -> None:
    batch = normalizer(rules).normalize(frame(sent(1, time)), REFERENCE, "maillog-0", 3)
    assert len(batch.events) == (2 if readable else 0)
    assert len(batch.dead_letters) == (0 if readable else 2)
    for letter in batch.dead_letters:
        assert letter.reason == "time: more than a day ahead of when the line was received, or before 1970"


def test_every_line_is_accounted_for_and_what_is_unreadable_is_cut(rules: RuleSet) -> None:
    bad = "Nov 24 01:50:43 mx postfix/qmgr[1]: 0000000001: from=<" + "x" * 10_000 + ">, size=?, nrcpt=1 (queue active)"
    batch = normalizer(rules).normalize(frame([*sent(3), "hello", bad]), REFERENCE, "maillog-0", 3)
    assert (batch.lines, len(batch.events), batch.ignored, len(batch.dead_letters)) == (8, 6, 1, 1)
    assert len(batch.dead_letters[0].raw) == MAX_RAW
    assert batch.dead_letters[0].index == 7


@settings(max_examples=60)
@given(st.binary(max_size=300), st.floats(-1e15, 1e15))
def test_no_frame_and_no_reference_breaks_anything(rules: RuleSet, content: bytes, reference: float) -> None:
    head = b"Nov 24 01:50:43 mx postfix/qmgr[1]: 0000000001: from=<"
    for what in (content, head + content, head + content + b">, size=1, nrcpt=1 (queue active)"):
        batch = normalizer(rules).normalize(what, reference, "maillog-0", 0)
        assert len(batch.events) + len(batch.dead_letters) + batch.ignored == batch.lines
