"""Failures of one session that several lines tell, by host and session, so that each counts once.

* An access server logs each failure (auth line) and then all of a session once more (login line, ``N attempts``): the
  login line counts only what was not seen.
* A webmail tells a failure in two logs, or in one of them.
* Where lines overtake each other (``overtaken``), the login line may be first: then the auth lines are told.
"""

from pipeline.formats.reading.programs import SUMMED_SESSIONS, TWICE_TOLD_SESSIONS
from pipeline.normalize.generations import Dumped, Generations, Key
from schemas.event import Event


class FailedSessions:
    """How many failures of each session were told by auth lines (< 0: by its login line, ahead of them). ``limit``:
    sessions remembered."""

    def __init__(self, limit: int) -> None:
        self.overtaken = False
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
            self._summed(event, key)
        else:
            told = self._told.get(key) or 0
            self._told.put(key, told + event.count)
            if told < 0:
                event.told_before(-told)

    def _summed(self, event: Event, key: Key) -> None:
        """All of a session once more: nothing comes after it, unless it came too early."""
        attempts, told = event.count, self._told.pop(key) or 0
        event.told_before(max(0, told))
        if self.overtaken and told < attempts:
            self._told.put(key, told - attempts)

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
