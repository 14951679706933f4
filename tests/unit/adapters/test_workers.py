"""Worker processes: results in order, faults passed on, nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.adapters.workers import WorkerLost, Workers, tick
from tests.support.paths import ROOT


def square(number: int) -> int:
    tick(number % 2, number)
    return number * number


def fail(number: int) -> int:
    raise OSError(f"no such disk {number}")


def wait_for_signal(number: int) -> int:
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
    return number


def nothing(done: int, ticks: list[int]) -> None:
    pass


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_the_order_of_tasks_and_progress_is_seen(jobs: int) -> None:
    seen: list[tuple[int, list[int]]] = []
    with Workers(jobs, 2) as workers:
        assert workers.map(square, range(6), lambda done, ticks: seen.append((done, ticks))) == [0, 1, 4, 9, 16, 25]
        assert workers.map(square, [], nothing) == []
    assert seen[-1][0] == 6
    assert set(seen[-1][1]) <= {0, 1, 2, 3, 4, 5}
    assert max(seen[-1][1]) >= 4


def test_processes_that_start_afresh_do_the_same() -> None:
    seen: list[tuple[int, list[int]]] = []
    with Workers(2, 2, afresh=True) as workers:
        assert workers.map(square, range(6), lambda done, ticks: seen.append((done, ticks))) == [0, 1, 4, 9, 16, 25]
    assert max(seen[-1][1]) >= 4


def test_what_a_task_raises_is_raised_here() -> None:
    with pytest.raises(OSError, match="no such disk"), Workers(2, 1) as workers:
        workers.map(fail, range(4), nothing)


def test_a_killed_worker_is_told() -> None:
    with pytest.raises(WorkerLost, match="--jobs 1"), Workers(2, 1) as workers:
        workers.map(wait_for_signal, range(4), nothing)


def test_an_interrupt_stops_workers_that_are_busy() -> None:
    def interrupt(done: int, ticks: list[int]) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Workers(2, 1) as workers:
        workers.map(wait_for_signal, [1, 2], interrupt)
    assert time.monotonic() - started < 5


def test_workers_do_not_outlive_whoever_started_them(eventually: Callable[..., None]) -> None:
    code = (
        "import os, signal\n"
        "from pipeline.adapters.workers import Workers\n"
        "def wait(n):\n    os.write(1, b'%d\\n' % os.getpid())  # in one piece\n    signal.pause()\n"
        "Workers(2, 1).map(wait, [1, 2], lambda done, ticks: None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            pids = [int(parent.stdout.readline()) for _ in range(2)]
        finally:
            parent.kill()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), what="workers end")
