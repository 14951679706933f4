"""When a job counts as stuck, and when not."""

import pytest
from faust.types import TP

from pipeline.adapters.streams.progress import ONE_STALLED, Progress

PATIENCE, STEP = 45.0, 5.0
A, B = TP("maillog", 0), TP("maillog", 1)


def _first(progress: Progress, until: float, comes: tuple[TP, ...], waits: tuple[TP, ...], joined: bool = True) -> str:
    """What is said first, in looks every five seconds from 0 to ``until``; "" for nothing."""
    now = 0.0
    progress.quiet([A, B], now)
    while (now := now + STEP) <= until:
        for tp in comes:
            progress.came(tp, now)
            progress.moved(now)
        quiet = progress.quiet([A, B] if joined else [], now)
        for tp in quiet:
            if tp not in waits:
                progress.came(tp, now)
        if told := progress.stuck(now, joined, [tp for tp in quiet if tp in waits], 0.0):
            return f"{now:.0f}: {told}"
    return ""


@pytest.mark.parametrize(
    ("comes", "waits", "told"),
    [
        ((), (), ""),
        ((A, B), (A, B), ""),
        ((A,), (), ""),
        ((), (A,), "50: messages of maillog, partition 0, wait, and none has come for 50 s"),
        ((), (A, B), "50: messages of maillog, partition 0, wait, and none has come for 50 s"),
        ((A,), (A, B), "605: messages of maillog, partition 1, wait, and none has come for 605 s"),
    ],
)
def test_a_job_is_stuck_where_messages_wait_and_none_comes(
    comes: tuple[TP, ...], waits: tuple[TP, ...], told: str
) -> None:
    progress = Progress(PATIENCE, 0.0)
    assert _first(progress, ONE_STALLED + 60, comes, waits) == told
    assert progress.waiting == ({B} if comes == (A,) and B in waits else set(waits) - set(comes))


def test_a_job_without_its_part_of_the_group_is_stuck() -> None:
    assert _first(Progress(PATIENCE, 0.0), 40, (), (), joined=False) == ""
    assert _first(Progress(PATIENCE, 0.0), 60, (), (), joined=False) == "50: the group has given it no part for 50 s"


def test_a_silence_of_the_broker_is_no_fault_of_the_job() -> None:
    progress = Progress(PATIENCE, 0.0)
    progress.quiet([A], 0.0)
    assert progress.stuck(300.0, True, progress.quiet([A], 300.0), heard_since=290.0) == ""
    assert progress.stuck(340.0, True, progress.quiet([A], 340.0), heard_since=290.0) != ""


def test_a_partition_that_comes_back_is_new() -> None:
    progress = Progress(PATIENCE, 0.0)
    progress.quiet([A], 0.0)
    assert progress.quiet([A], 50.0) == [A]
    progress.quiet([], 55.0)
    assert progress.quiet([A], 60.0) == []
