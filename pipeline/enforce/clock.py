"""Is the clock to be believed? What is over by a clock that jumped is hidden, and comes back when the clock does."""

from typing import Final

LEAP: Final = 5.0
"""Seconds that a clock may be moved at once without being doubted."""
BELIEVED: Final = 3600.0
"""Seconds after which a clock that leapt ahead is believed, if it goes on evenly."""


class TrustedClock:
    """The time until which what is over may be forgotten for good, never ahead of the wall clock.

    ``steady`` is a clock that nobody sets. ``leaps``: how often the wall clock was moved by more than ``LEAP``.
    """

    def __init__(self) -> None:
        self.leaps = 0
        self._ahead: float | None = None  # the wall clock less the steady one
        self._trusted = 0.0  # the same, as far as it is believed
        self._leapt_at = 0.0

    def start(self, wall: float, steady: float, since: float | None = None) -> None:
        """``since``: a time that was surely over, such as that of a snapshot: nothing proves that more has passed."""
        self._ahead = wall - steady
        self._trusted = min(self._ahead, (wall if since is None else since) - steady)
        self._leapt_at = steady

    def time(self, wall: float, steady: float) -> float:
        """To be asked every second or so. Seconds since 1970 UTC, as ``wall``."""
        if self._ahead is None:
            self.start(wall, steady)
        assert self._ahead is not None
        ahead = wall - steady
        if abs(ahead - self._ahead) > LEAP:
            self.leaps += 1
            self._leapt_at = steady
        self._ahead = ahead
        if ahead <= self._trusted + LEAP or steady - self._leapt_at >= BELIEVED:
            self._trusted = ahead
        return steady + self._trusted
