"""One window at many ends: which of them hold as many as a limit, and how near the fullest of the others comes."""

from collections.abc import Callable, Sequence


def fullest(count: Callable[[int, int], int], spans: Sequence[tuple[int, int]], limit: int) -> tuple[list[int], int]:
    """``spans``: of each window the place of its first entry and that after its last, neither ever falling.
    ``count``: what a metric counts from one place to before another; of more entries no less.

    Returns the places in ``spans`` of those that hold ``limit`` or more, in order, and a number that none of the others
    exceeds: below the limit, and at least half as far from it as the fullest of them is.

    Neighbours mostly are far from the limit together, and are counted as one: what all of them hold is more than any of
    them does. Where that says too little, each half is looked at for itself.
    """
    reached: list[int] = []
    most = fullest_known = 0
    pending = [(0, len(spans))]
    while pending:
        low, high = pending.pop()
        first, after = spans[low][0], spans[high - 1][1]
        held = count(first, after)
        is_one = spans[low] == spans[high - 1]
        if held < limit and (is_one or 2 * held <= limit + fullest_known):
            most = max(most, held)
            if is_one:
                fullest_known = max(fullest_known, held)
        elif is_one:
            reached += range(low, high)
        else:
            middle = (low + high) // 2
            pending += ((low, middle), (middle, high))
    return sorted(reached), most
