"""Failures of one session that several lines tell: joined by host and session, so that each counts once.

* An access server logs each failure (auth line) and then all of a session once more (login line, ``N attempts``): the
  login line counts only what was not seen.
* A webmail tells a failure in two logs, or in one of them.
"""

from pipeline.formats.reading.programs import SUMMED_SESSIONS, TWICE_TOLD_SESSIONS
from pipeline.normalize.joining.generations import Dumped, Generations, Key
from schemas.event import Event


class FailedSessions:
    """What was told of each session. ``limit``: sessions remembered."""

    def __init__(self, limit: int) -> None:
        self._told: Generations[int] = Generations(limit)

    @property
    def forgotten(self) -> int:
        """Sessions that had to be forgotten to stay in bounds."""
        return self._told.forgotten

    def see(self, event: Event, session: str) -> None:
        """Completes a failure in place."""
        key = (event.host, session)
        if event.program in TWICE_TOLD_SESSIONS:
            self._two_logs(event, key)
        elif event.program in SUMMED_SESSIONS:
            event.told_before(self._told.pop(key) or 0)
        else:
            self._told.put(key, (self._told.get(key) or 0) + event.count)

    def _two_logs(self, event: Event, key: Key) -> None:
        """One log names the mechanism, the other does not; the balance is what one is ahead of the other."""
        step = 1 if event.method else -1
        balance = self._told.get(key) or 0
        if balance * step < 0:
            event.told_before()
        self._told.put(key, balance + step)

    def dump(self) -> Dumped[int]:
        """The state."""
        return self._told.dump()

    def load(self, dumped: Dumped[int]) -> None:
        """Inverse of ``dump``."""
        self._told.load(dumped)
