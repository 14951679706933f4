"""Time stamps of log lines: RFC 3164 (no year, no zone), ISO 8601 and RFC 5424 (RFC 3339)."""

import re
from datetime import UTC, datetime, tzinfo

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_BSD = re.compile(r"(\w{3}) +([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ")
_AHEAD = 86_400.0
_LEAP_GAP = 8  # years between two 29 February around a century that is no leap year
_CACHED = 100_000


class Stamps:
    """Reads time stamps; ``zone`` is that of stamps that carry none.

    An RFC 3164 stamp gets the year that puts it nearest to the reference, at most one day after it. The cache holds
    only stamps whose year is the same for every reference in ``[_since, _until)``, so it never changes a result.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._forget()

    def _forget(self) -> None:
        self._known: dict[str, datetime] = {}
        self._since, self._until = float("-inf"), float("inf")

    def refer(self, reference: float) -> bool:
        """Makes the cache right for this reference; true if it had to be emptied."""
        if self._since <= reference < self._until and len(self._known) < _CACHED:
            return False
        self._forget()
        return True

    def seen(self, start: str) -> datetime | None:
        """The time of an RFC 3164 stamp (16 characters, with the blank after it) that was read before."""
        return self._known.get(start)

    def bsd(self, line: str, reference: float) -> tuple[datetime | None, int]:
        """The RFC 3164 stamp at the start of a line: (time, where the rest starts).

        ``(None, 0)``: there is none. ``(None, n)`` with n > 0: there is no such date or time.
        """
        known = self._known.get(line[:16])
        if known is not None:
            return known, 16
        match = _BSD.match(line)
        if match is None or match[1] not in _MONTHS:
            return None, 0
        parts = (_MONTHS[match[1]], *(int(match[group]) for group in range(2, 6)))
        try:
            year = datetime.fromtimestamp(reference + _AHEAD, UTC).year + 1
        except (ValueError, OverflowError, OSError):
            return None, match.end()
        later = float("inf")
        for candidate in range(year, year - _LEAP_GAP - 3, -1):
            time = self._in_year(candidate, parts)
            if time is None:
                continue
            since = time.timestamp() - _AHEAD
            if since <= reference:
                if match.end() == 16:
                    self._known[match[0]] = time
                    self._since, self._until = max(self._since, since), min(self._until, later)
                return time, match.end()
            later = since
        return None, match.end()

    def _in_year(self, year: int, parts: tuple[int, ...]) -> datetime | None:
        month, day, hour, minute, second = parts
        try:
            leap = second == 60  # a leap second, POSIX clocks show it as 59 again
            return datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=self._zone).astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    def iso(self, text: str) -> datetime | None:
        """An ISO 8601 stamp, with or without fraction and zone; ``None`` if it is none."""
        try:
            time = datetime.fromisoformat(text)
            if time.tzinfo is UTC:
                return time
            return (time if time.tzinfo is not None else time.replace(tzinfo=self._zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            return None
