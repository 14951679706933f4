"""Time stamps of log lines: RFC 3164 (no year, no zone), ISO 8601 and RFC 5424 (RFC 3339), seconds since 1970."""

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
_REPEATED = 300.0  # seconds: of an hour that is repeated, the second is meant unless it would be later than this
_DMY = re.compile(
    r"([0-9]{1,2})[-/](\w{3})[-/]([0-9]{4})[: ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(?: ([+-][0-9]{4}))?"
)
_UTC = ("UTC", "GMT", "UCT", "Z")
_DIGITS = re.compile(r"[0-9]{1,19}(?:\.[0-9]{1,9})?")
_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))  # seconds until the year 5138, then ms, µs, ns


class Stamps:
    """Reads time stamps; ``zone`` is that of stamps that carry none.

    An RFC 3164 stamp gets the year that puts it nearest to the reference, at most one day after it. Of an hour that
    the clocks repeat at the end of summer time, the second one is meant unless it lies after the reference. The cache
    holds only stamps that mean the same for every reference in ``[_since, _until)``, so it never changes a result.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._forget()

    def _forget(self) -> None:
        self._known: dict[str, datetime] = {}
        self._since, self._until = float("-inf"), float("inf")
        self._reference = float("-inf")

    def refer(self, reference: float) -> bool:
        """Makes the cache right for this reference; true if it had to be emptied."""
        if self._since <= reference < self._until and len(self._known) < _CACHED:
            self._reference = reference
            return False
        self._forget()
        self._reference = reference
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
            for time, ahead in self._in_year(candidate, parts):
                since = time.timestamp() - ahead
                if since <= reference:
                    if match.end() == 16:
                        self._known[match[0]] = time
                        self._since, self._until = max(self._since, since), min(self._until, later)
                    return time, match.end()
                later = since
        return None, match.end()

    def _in_year(self, year: int, parts: tuple[int, ...]) -> list[tuple[datetime, float]]:
        """What a stamp can mean in a year, latest first, and how many seconds it may lie after the reference."""
        month, day, hour, minute, second = parts
        try:
            leap = second == 60  # a leap second, POSIX clocks show it as 59 again
            local = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=self._zone)
            return [(meant, _REPEATED if again else _AHEAD) for meant, again in _meanings(local)]
        except (ValueError, OverflowError):
            return []

    def iso(self, text: str) -> datetime | None:
        """An ISO 8601 stamp, with or without fraction and zone; ``None`` if it is none."""
        try:
            time = datetime.fromisoformat(text)
            if time.tzinfo is UTC:
                return time
            if time.tzinfo is None:
                return self._local(time.replace(tzinfo=self._zone))
            return time.astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    def _local(self, local: datetime) -> datetime:
        """The later of two meanings, unless it lies after the reference; bounds the cache where there are two."""
        meanings = _meanings(local)
        if len(meanings) > 1:
            turn = meanings[0][0].timestamp() - _REPEATED
            if turn > self._reference:
                self._until = min(self._until, turn)
                return meanings[1][0]
            self._since = max(self._since, turn)
        return meanings[0][0]

    def dmy(self, text: str) -> datetime | None:
        """``24-Nov-2026 01:50:43 +0000`` and ``24/Nov/2026:01:50:43 +0000``, with or without zone; else ``None``."""
        match = _DMY.fullmatch(text)
        if match is None or match[2] not in _MONTHS:
            return None
        day, month, year, clock, fraction, zone = match.groups("")
        return self.iso(f"{year}-{_MONTHS[month]:02}-{int(day):02}T{clock}{fraction}{zone}")

    def named(self, text: str, zone: str) -> datetime | None:
        """``2026-11-24T01:50:43`` in a zone by its offset, or by an abbreviation, which must be that of UTC or of the
        zone here; else ``None``."""
        if zone in _UTC or zone.startswith(("+", "-")):
            return self.iso(text + ("+00:00" if zone in _UTC else zone))
        try:
            local = datetime.fromisoformat(text).replace(tzinfo=self._zone)
            meant = next((time for time in (local, local.replace(fold=1)) if time.tzname() == zone), None)
            return None if meant is None else meant.astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    @staticmethod
    def day(year: str, month: str, day: str) -> str | None:
        """A date of which the month is told by its English name, as ISO 8601 has it; ``None`` if there is no such
        month."""
        return f"{year}-{_MONTHS[month]:02}-{int(day):02}" if month in _MONTHS else None

    def any(self, value: object) -> datetime | None:
        """What a shipper may write: a stamp in text, or seconds, ms, µs or ns since 1970; ``None`` if it is none."""
        if isinstance(value, str):
            if not _DIGITS.fullmatch(value):
                return self.iso(value) or self.dmy(value) or self.bsd(f"{value} ", self._reference)[0]
            value = float(value) if "." in value else int(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        for below, unit in _UNITS:
            if 0 <= value < below:
                return datetime.fromtimestamp(value / unit, UTC)
        return None


def _meanings(local: datetime) -> list[tuple[datetime, bool]]:
    """What a local time can mean in UTC, latest first; true (and ``fold`` is set) for the second of two."""
    first, second = local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)
    return [(second.replace(fold=1), True), (first, False)] if second > first else [(first, False)]
