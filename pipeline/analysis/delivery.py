"""(g) Reputation: what became of the mail that left, by channel, and of mail of abused accounts."""

import pandas as pd

from pipeline.analysis.query import ABUSED, Every, Period, Query, naive, start_of
from pipeline.ports import RowStore


def outcomes(store: RowStore, period: Period, every: Every = "day") -> pd.DataFrame:
    """Deliveries by result in each interval, for mail of accounts found abused and of all others."""
    start = start_of(every, "minute")
    found = store.query(
        f"SELECT {start} AS start, account IN {ABUSED} AS bad, "
        "sum(delivered) AS arrived, sum(bounced) AS returned, sum(deferred) AS delayed, "
        "sum(unknown_recipients) AS unknown FROM rates_per_minute "
        "WHERE minute >= :since AND minute < :until AND account != '' GROUP BY start, bad "
        "HAVING arrived + returned + delayed > 0 ORDER BY start, bad",
        **period.values,
    )
    return found.assign(start=naive(found["start"], period.zone), bad=found["bad"] == 1)


DELIVERY: tuple[Query, ...] = (
    Query(
        outcomes,
        {
            "start": "local time",
            "bad": "of accounts found abused: true or false",
            "arrived": "recipients",
            "returned": "recipients",
            "delayed": "attempts",
            "unknown": "recipients that do not exist",
        },
    ),
)
