"""(d) What accounts do at their busiest, what a limit would catch, and whom it would hurt."""

from typing import Literal

import numpy as np
import pandas as pd

from pipeline.analysis.query import FOUND, Period, Query
from pipeline.ports import RowStore

Counted = Literal["messages", "recipients", "errors", "unknown_recipients"]
Where = Literal["home", "abroad", "all"]
LIMITS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 2000, 5000, 10_000)


_COLUMNS: dict[Counted, str] = {
    "messages": "messages",
    "recipients": "recipients",
    "errors": "errors + errors_sasl",  # as the access servers and the SASL server count them, who know the account
    "unknown_recipients": "unknown_recipients",
}
_PLACES: dict[Where, str] = {
    "all": "1 = 1",
    "home": "country IN ('', :home)",
    "abroad": "country NOT IN ('', :home)",
}


def peaks(
    store: RowStore,
    period: Period,
    counted: Counted = "messages",
    minutes: int = 10,
    where: Where = "all",
    home: str = "JP",
) -> pd.DataFrame:
    """The most of each account within ``minutes`` that end with any minute (a sliding window), and whether it was
    found abused at any time."""
    column = _COLUMNS[counted]
    found = store.query(
        f"SELECT account, toUInt32(minute) AS at, sum({column}) AS n FROM rates_per_minute "
        f"WHERE minute >= :since AND minute < :until AND account != '' AND {column} > 0 AND {_PLACES[where]} "
        "GROUP BY account, at ORDER BY account, at",
        home=home,
        **period.values,
    )
    return _with_fate(_busiest(found, minutes), _abused(store))


def _abused(store: RowStore) -> frozenset[str]:
    return frozenset(store.query(f"SELECT DISTINCT subject FROM decisions WHERE {FOUND}")["subject"])


def _with_fate(busiest: pd.DataFrame, abused: frozenset[str]) -> pd.DataFrame:
    return busiest.assign(abused=busiest["account"].isin(abused))


def _busiest(found: pd.DataFrame, minutes: int) -> pd.DataFrame:
    """Rows of (account, at, n), sorted -> the largest sum of each account over a sliding window."""
    if found.empty:
        return pd.DataFrame({"account": found["account"], "peak": found["n"].astype("int64")})
    codes = found["account"].ne(found["account"].shift()).cumsum().to_numpy() - 1
    # One time line for all accounts, with a gap between them that no window spans.
    first = int(found["at"].min())
    length = int(found["at"].max()) - first + 60 * minutes + 60
    line = codes * length + (found["at"].to_numpy() - first)
    total = np.concatenate([[0], np.cumsum(found["n"].to_numpy())])
    begin = np.searchsorted(line, line - 60 * (minutes - 1), side="left")
    sums = total[1:] - total[begin]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    names = found["account"].iloc[starts].reset_index(drop=True)
    return pd.DataFrame({"account": names, "peak": np.maximum.reduceat(sums, starts).astype("int64")})


def trade_off(
    store: RowStore,
    period: Period,
    counted: Counted = "messages",
    minutes: int = 10,
    where: Where = "all",
    home: str = "JP",
) -> pd.DataFrame:
    """For each of ``LIMITS``: how many abused accounts reach it, and how many honest ones (those never found abused)
    it would hurt. Who is abused is known only from the decisions: a limit that found them flatters itself."""
    return _curve(peaks(store, period, counted, minutes, where, home))


def _curve(frame: pd.DataFrame) -> pd.DataFrame:
    abused, honest = frame[frame["abused"]]["peak"].to_numpy(), frame[~frame["abused"]]["peak"].to_numpy()
    caught = np.array([int((abused >= limit).sum()) for limit in LIMITS])
    hurt = np.array([int((honest >= limit).sum()) for limit in LIMITS])
    return pd.DataFrame(
        {
            "limit": np.array(LIMITS),
            "caught": caught,
            "hurt": hurt,
            "caught_share": caught / max(len(abused), 1),
            "hurt_share": hurt / max(len(honest), 1),
        }
    )


_SHARES = {"caught_share": "share of the abused, 0 to 1", "hurt_share": "share of the honest, 0 to 1"}

THRESHOLDS: tuple[Query, ...] = (
    Query(peaks, {"account": "name", "peak": "most within the window", "abused": "true or false"}),
    Query(
        trade_off,
        {"limit": "within the window", "caught": "abused accounts", "hurt": "honest accounts", **_SHARES},
    ),
)
