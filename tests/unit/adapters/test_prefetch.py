"""A process that works ahead: results in order, faults passed on, nobody left behind."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from pipeline.adapters.prefetch import Prefetch
from pipeline.adapters.workers import WorkerLost


def count(number: int) -> Iterator[bytes]:
    for n in range(number):
        yield str(n).encode() * 1000


def fail(number: int) -> Iterator[bytes]:
    yield b"first"
    raise OSError(f"no such disk {number}")


def killed(number: int) -> Iterator[bytes]:
    yield b"first"
    os.kill(os.getpid(), signal.SIGKILL)


def endless(number: int) -> Iterator[bytes]:
    while True:
        yield b"x" * number


def test_results_come_in_their_order() -> None:
    with Prefetch(count) as prefetch:
        assert list(prefetch.results(300)) == list(count(300))


def test_what_the_work_raises_comes_after_its_results() -> None:
    with Prefetch(fail) as prefetch:
        results = prefetch.results(7)
        assert next(results) == b"first"
        with pytest.raises(OSError, match="no such disk 7"):
            next(results)


def test_a_killed_process_is_told() -> None:
    with Prefetch(killed) as prefetch, pytest.raises(WorkerLost, match="killed"):
        list(prefetch.results(1))


def test_whatever_it_still_does_is_stopped() -> None:
    started = time.monotonic()
    with Prefetch(endless) as prefetch:
        assert next(prefetch.results(1 << 20)) == b"x" * (1 << 20)
    with Prefetch(endless):
        pass  # it was never asked
    assert time.monotonic() - started < 5
