"""Which raw frames were counted: against a set of all that were, and with frames that somebody made up."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources import GAP, MAX_RUNS, MAX_SOURCES, Sources


def restarted(sources: Sources) -> Sources:
    made = Sources()
    made.load(sources.dump())
    return made


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_a_frame_counts_once_however_often_it_comes_and_whatever_lies_between(seed: int, number: int) -> None:
    """In the order of their source, now and then from further back, as a normaliser that was killed sends them."""
    chance, sources, known = random.Random(seed), Sources(), dict[str, set[int]]()
    frames: dict[str, list[int]] = {}
    for source in ("maillog-0", "authlog-0", "maillog-0+1"):
        at, frames[source] = 0, []
        for _ in range(number):
            at += chance.choice((1, 1, 1, 2, GAP, GAP, 5 * GAP, 10**12))
            frames[source].append(at)
    for _ in range(3 * number):
        source = chance.choice(list(frames))
        counted = known.setdefault(source, set())
        start = chance.randrange(len(counted) + 1)
        for offset in frames[source][start : len(counted) + 2]:
            assert (sources.count(source, offset) != "again") == (offset not in counted)
            counted.add(offset)
        if chance.random() < 0.2:
            sources = restarted(sources)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("claimed", [999_999_999, 2**63 - 1, 10_000 + GAP + 1])
def test_a_frame_that_somebody_made_up_hides_no_other(before: bool, claimed: int) -> None:
    sources = Sources()
    if before:
        assert sources.count("maillog-0", 10_000) == "next"
    assert sources.count("maillog-0", claimed) == ("ahead" if before else "next")
    assert all(sources.count("maillog-0", offset) != "again" for offset in range(10_001, 11_000))
    assert sources.count("maillog-0", 10_500) == "again"


def test_frames_that_somebody_made_up_are_forgotten_before_those_that_were_counted() -> None:
    sources = Sources()
    for offset in range(100):
        sources.count("maillog-0", offset)
    for n in range(3 * MAX_RUNS):
        assert sources.count("maillog-0", n * 10**9 + 10**6) == "ahead"
    for n in range(2 * MAX_SOURCES):
        sources.count(f"authlog-{n}", 5)
    assert [sources.count("maillog-0", offset) for offset in (0, 99, 100)] == ["again", "again", "next"]
    assert MAX_SOURCES // 2 < len(msgspec.msgpack.decode(sources.dump())) <= MAX_SOURCES


def test_what_a_version_before_had_saved_counts_as_it_did() -> None:
    sources = Sources()
    sources.load(msgspec.msgpack.encode({"maillog-0": 7}))
    assert [sources.count("maillog-0", offset) for offset in (0, 7, 8, 8)] == ["again", "again", "next", "again"]
