"""How a job's process ends: the first failure is told, and what hangs on the way out is cut off.

Faust goes on for a while when something failed: it starts agents again, commits, and waits, some of it without a limit.
So a failure is remembered here, and whoever would work, save or acknowledge asks first.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import structlog

from pipeline.partition import StateUnreadable
from pipeline.ports import TopicMissing

SECONDS: Final = 25.0  # that a process may take to save its state and leave
FAILED_SECONDS: Final = 15.0  # the same after a failure, when nothing is saved any more
BEGUN: Final = "_SEKIMORI_BEGUN"  # by a process for itself, after it has begun anew
TOLD_AT_THE_END: Final = (StateUnreadable, TopicMissing)  # their message is for an operator, and the last line
_log = structlog.get_logger()


class Ending:
    """``failure``: the first. ``again``: the process is to begin anew, instead of ending."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.again = self._own = self._leaving = False
        self._lock = threading.Lock()
        self._limited = False

    def fail(self, error: BaseException) -> None:
        """From here on nothing is worked on, saved or acknowledged. Safe to call from any thread, and again."""
        with self._lock:
            if self.failure is not None:
                return
            self.failure = error
        if not isinstance(error, TOLD_AT_THE_END):
            _log.error("job_failed", error=repr(error))
        self.limit(FAILED_SECONDS)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Around what must not fail."""
        try:
            yield
        except Exception as error:
            self.fail(error)
            raise

    def begin_again(self, why: str) -> None:
        """Leaves the group in good order, as at SIGTERM; then the process starts anew, see ``start_anew``."""
        if not self.again and not self._leaving:
            self.again = self._own = True
            _log.warning("job_begins_again", why=why)
            os.kill(os.getpid(), signal.SIGTERM)

    def signalled(self) -> None:
        """At SIGTERM or SIGINT. Whoever sends one wants an end, even if the process was about to begin anew."""
        self.again, self._own, self._leaving = self._own, False, not self._own
        self.limit()

    def limit(self, seconds: float = SECONDS) -> None:
        """Ends the process after so many seconds with status 1, or begins anew, if it has not done so by then."""
        with self._lock:
            if self._limited:
                return
            self._limited = True
        timer = threading.Timer(seconds, self._cut_off, (seconds,))
        timer.daemon = True
        timer.start()

    def _cut_off(self, seconds: float) -> None:
        if self.again and self.failure is None:
            start_anew()
        why = f" after: {self.failure}" if self.failure is not None else ""
        sys.stderr.write(
            f"Error: the job did not end within {seconds:.0f} seconds{why}; it is cut off, and what was not saved is "
            f"worked on again by whoever goes on\n"
        )
        sys.stderr.flush()
        os._exit(1)


def start_anew() -> NoReturn:
    """The same command in the same process: nothing of the old one is left but its number."""
    os.environ[BEGUN] = str(begun() + 1)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # what it was started with


def begun() -> int:
    """How often the process has begun anew."""
    told = os.environ.get(BEGUN, "")
    return int(told) if told.isdecimal() else 0
