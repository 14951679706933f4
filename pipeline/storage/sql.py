"""Values as SQL literals, one way for every engine: what an attacker wrote stays a value.

ClickHouse 18.16 knows no parameters, so that the values are written into the statement here, and nowhere else.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime

from pipeline.ports import Value

_NAME = re.compile(r":([a-z_]+)\b")
_ESCAPES = str.maketrans(
    {"\\": "\\\\", "'": "\\'", "\0": "\\0", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
)


def literal(value: Value) -> str:
    """A value as ClickHouse reads it. Times become UTC at whole seconds. Raises ValueError for text that is no
    UTF-8 and for numbers that are none."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{value!a} is no text in UTF-8") from None
        return f"'{value.translate(_ESCAPES)}'"
    if isinstance(value, bool | int):
        return str(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no finite number")
        return repr(value)
    if isinstance(value, datetime):
        return f"toDateTime({int(value.timestamp())}, 'UTC')"
    if isinstance(value, date):
        return f"toDate('{value.isoformat()}')"
    return f"({', '.join(literal(item) for item in value)})"


def bound(sql: str, values: Mapping[str, Value]) -> str:
    """``:name`` replaced by the literal of ``values[name]``. Raises KeyError for a name that is not given."""
    return _NAME.sub(lambda match: literal(values[match[1]]), sql)


def utc(seconds: float) -> datetime:
    """Seconds since 1970 as a time."""
    return datetime.fromtimestamp(seconds, UTC)
