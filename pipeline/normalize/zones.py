"""The zone that a sender tells by the header ``zone``: that of his host, for stamps of his lines that carry none.

Whom this can hurt: who may write to the topic can tell a zone, but only for lines that he writes himself; their stamps
are held against the time of arrival as all others are (``clocks``).
"""

import re
from datetime import UTC, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_NAME = re.compile(r"(?!localtime$)[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,3}")  # that one is a host's own
_OFFSET = re.compile(r"([+-])(0[0-9]|1[0-4]):([0-5][0-9])")
_LONGEST = 64


@lru_cache(maxsize=256)
def zone_of(told: str) -> tzinfo | None:
    """``Asia/Tokyo`` or ``+09:00`` -> the zone; ``None`` if there is none such."""
    offset = _OFFSET.fullmatch(told)
    if offset is not None:
        ahead = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(ahead if offset[1] == "+" else -ahead) if ahead else UTC
    if len(told) > _LONGEST or not _NAME.fullmatch(told):
        return None
    try:
        return ZoneInfo(told)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
