"""The fullest of many windows, against counting each of them."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.windows.sliding import fullest


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    """Entries, each of a few peers, and windows that slide over their places."""
    entries = draw(st.lists(st.integers(0, 5), max_size=40))
    number = draw(st.integers(1, 30))
    places = st.lists(st.integers(0, len(entries)), min_size=number, max_size=number).map(sorted)
    return entries, [(min(a, b), max(a, b)) for a, b in zip(draw(places), draw(places), strict=True)]


@given(windows(), st.integers(1, 30), st.booleans())
def test_those_that_reach_the_limit_and_how_near_the_others_come(
    drawn: tuple[list[int], list[tuple[int, int]]], limit: int, distinct: bool
) -> None:
    entries, spans = drawn

    def count(first: int, after: int) -> int:
        return len(set(entries[first:after])) if distinct else sum(entries[first:after])

    reached, most = fullest(count, spans, limit)
    counts = [count(*span) for span in spans]
    assert reached == [place for place, counted in enumerate(counts) if counted >= limit]
    others = [counted for counted in counts if counted < limit]
    nearest = max(others, default=0)
    assert nearest <= most < limit
    assert limit - most >= (limit - nearest) / 2 or most == nearest


def test_windows_far_from_the_limit_are_counted_together() -> None:
    asked: list[tuple[int, int]] = []

    def count(first: int, after: int) -> int:
        asked.append((first, after))
        return after - first

    assert fullest(count, [(n, n + 10) for n in range(120)], 300) == ([], 129)
    assert asked == [(0, 129)]
