"""What the queries share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pandas as pd

from pipeline.ports import RowStore, Value

Every = Literal["minute", "hour", "day", "week", "month"]

_START: dict[Every, str] = {
    "minute": "toStartOfMinute",
    "hour": "toStartOfHour",
    "day": "toStartOfDay",
    "week": "toMonday",
    "month": "toStartOfMonth",
}

# Password errors of SMTP AUTH are logged by the MTA and by the SASL server: the same errors, seen twice.
ERRORS = "sum(errors) + greatest(sum(errors_mta), sum(errors_sasl))"
# Decisions that restrict somebody's sending, and not in shadow: the account was found to be abused.
FOUND = "subject_kind = 'account' AND mode = 'enforce' AND scope IN ('send', 'both') AND action != 'notify'"
ABUSED = f"(SELECT subject FROM decisions WHERE {FOUND})"


MOST_ROWS = 100_000  # of minutes in which nothing happened


@dataclass(frozen=True)
class Period:
    """From ``since`` up to, not including, ``until``. ``zone``: IANA zone whose days and hours count."""

    since: datetime
    until: datetime
    zone: str = "UTC"

    @property
    def values(self) -> dict[str, Value]:
        """For ``:since``, ``:until`` and ``:zone`` in a statement."""
        return {"since": self.since, "until": self.until, "zone": self.zone}


@dataclass(frozen=True)
class Query:
    """A query, and the columns of its frame with their units."""

    function: Callable[..., pd.DataFrame]
    columns: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of the function."""
        return self.function.__name__


def start_of(every: Every, column: str) -> str:
    """SQL: the start of the local minute, hour, day, week (Monday) or month that a time lies in."""
    if every in ("week", "month"):
        return f"{_START[every]}(toDate({column}, :zone))"
    return f"{_START[every]}({column}, :zone)" if every == "day" else f"{_START[every]}({column})"


def naive(times: pd.Series, zone: str) -> pd.Series:
    """Local wall clock time, for axes; what is local already stays."""
    if getattr(times.dtype, "tz", None) is None:
        return times.astype("datetime64[s]")
    return times.dt.tz_convert(zone).dt.tz_localize(None).astype("datetime64[s]")


def filled(frame: pd.DataFrame, period: Period, every: Every) -> pd.DataFrame:
    """Rows of zeros for the minutes, hours or days in which nothing happened, and ``start`` as local time: a line
    must not lead over a quiet night as if there had been none. Unless they would be more than ``MOST_ROWS``."""
    step = {"minute": "min", "hour": "h", "day": "D"}.get(every)
    if step is None or frame.empty:
        return frame.assign(start=naive(frame["start"], period.zone))
    since, until = pd.Timestamp(period.since), pd.Timestamp(period.until)
    if every == "day":
        since, until = (at.tz_convert(period.zone).tz_localize(None) for at in (since, until))
        frame = frame.assign(start=naive(frame["start"], period.zone))
    starts = pd.date_range(since.floor(step), until, freq=step, inclusive="left", unit="s")
    if len(starts) <= MOST_ROWS:
        frame = frame.set_index("start").reindex(starts, fill_value=0).rename_axis("start").reset_index()
    return frame.assign(start=naive(frame["start"], period.zone))


def covered(store: RowStore, zone: str = "UTC") -> Period:
    """The whole minutes that the store knows of. Raises LookupError if it knows of none."""
    found = store.query("SELECT min(minute) AS a, max(minute) AS b, count() AS n FROM rates_per_minute")
    if not found["n"][0]:
        raise LookupError("the store is empty; fill it with: sekimori load FILE --into FOLDER")
    return Period(found["a"][0].to_pydatetime(), (found["b"][0] + pd.Timedelta(minutes=1)).to_pydatetime(), zone)
