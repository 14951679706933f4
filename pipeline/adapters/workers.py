"""Worker processes that share out pieces of work, and end with whoever started them."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from ctypes import c_int64
from itertools import islice
from multiprocessing.sharedctypes import RawArray
from types import TracebackType
from typing import Any, Self, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

POLL = 0.2  # seconds between two looks at how far the workers are
PREFETCHED = 2  # tasks for each process that are drawn at once

# Where threads of system libraries make it unsafe to fork, processes start afresh.
AFRESH = multiprocessing.get_context("spawn")
CONTEXT = multiprocessing.get_context("fork") if sys.platform == "linux" else AFRESH

_ticks: Any = None  # in a worker: how far each slot is, in memory shared with whoever started it


class WorkerLost(RuntimeError):
    """A worker process ended by itself, or was killed."""


def tick(slot: int, value: int) -> None:
    """Called in a worker: notes how far a piece of work is."""
    if _ticks is not None:
        _ticks[slot] = value


def _begin(ticks: Any) -> None:
    global _ticks  # noqa: PLW0603  # the only way to hand memory to a worker of a pool
    _ticks = ticks
    obey_parent()


def obey_parent() -> None:
    """Called first in a process of ``CONTEXT``: it ends when, and only when, whoever started it says so or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


class Workers:
    """``jobs`` processes. Context manager: whatever is still at work is stopped in the end.

    On Linux they are forked, so they must be started before any thread is; where it is too late for that, as beside an
    open store or in a notebook, they can start ``afresh``, which takes a second or two.
    """

    def __init__(self, jobs: int, slots: int, *, afresh: bool = False) -> None:
        """``slots``: of ``tick``."""
        self._ticks = RawArray(c_int64, max(1, slots))
        self._before = set(multiprocessing.active_children())
        self._jobs = jobs
        self._pool = ProcessPoolExecutor(jobs, AFRESH if afresh else CONTEXT, _begin, (self._ticks,))
        self._pool.submit(os.getpid).result()

    def map(
        self, work: Callable[[Task], Result], tasks: Iterable[Task], watch: Callable[[int, list[int]], None]
    ) -> list[Result]:
        """Results in the order of tasks. ``watch`` is told how many are done, and the ticks, several times a second.

        Tasks are drawn as they are needed: no more than ``PREFETCHED`` for each process are held. Raises what ``work``
        raises, at once, and WorkerLost.
        """
        futures: list[Future[Result]] = []
        waiting: set[Future[Result]] = set()
        drawn = iter(tasks)
        try:
            while True:
                for task in islice(drawn, self._jobs * PREFETCHED - len(waiting)):
                    futures.append(self._pool.submit(work, task))
                    waiting.add(futures[-1])
                if not waiting:
                    return [future.result() for future in futures]
                done, waiting = wait(waiting, POLL, FIRST_COMPLETED)
                for future in done:
                    future.result()
                watch(len(futures) - len(waiting), list(self._ticks))
        except BrokenProcessPool:
            raise WorkerLost("a worker process was killed, perhaps for want of memory: try --jobs 1") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            for process in set(multiprocessing.active_children()) - self._before:
                process.terminate()
        self._pool.shutdown(cancel_futures=True)
