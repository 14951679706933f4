"""(b) A day in the life: volumes, rates, countries, and the pattern of the hours."""

import pandas as pd

from pipeline.analysis.query import ERRORS, Every, Period, Query, filled, start_of
from pipeline.ports import RowStore


def volumes(store: RowStore, period: Period, every: Every = "hour") -> pd.DataFrame:
    """What happened in each interval, of all accounts together."""
    start = start_of(every, "minute")
    found = store.query(
        f"SELECT {start} AS start, sum(messages) AS sent, sum(recipients) AS addressed, sum(logins) AS logged_in, "
        f"{ERRORS} AS password_errors, sum(delivered) AS arrived, sum(bounced) AS returned, "
        "sum(rejects) AS refused, uniqExactIf(account, messages > 0) AS senders "
        "FROM rates_per_minute WHERE minute >= :since AND minute < :until GROUP BY start ORDER BY start",
        **period.values,
    )
    return filled(found, period, every)


def countries(store: RowStore, period: Period) -> pd.DataFrame:
    """Per country of the connecting address: who sends, who logs in, who guesses."""
    return store.query(
        "SELECT country, sum(messages) AS sent, sum(recipients) AS addressed, sum(logins) AS logged_in, "
        f"{ERRORS} AS password_errors, uniqExactIf(account, messages > 0) AS senders, uniqExact(network) AS networks "
        "FROM rates_per_minute WHERE minute >= :since AND minute < :until AND network != '' "
        "GROUP BY country ORDER BY sent DESC, password_errors DESC, country",
        **period.values,
    )


def diurnal(store: RowStore, period: Period) -> pd.DataFrame:
    """The mean over days of what happens in each local hour, on working days and at weekends."""
    found = store.query(
        "SELECT toDate(minute, :zone) AS day, toHour(minute, :zone) AS hour, sum(messages) AS sent, "
        f"sum(logins) AS logged_in, {ERRORS} AS password_errors FROM rates_per_minute "
        "WHERE minute >= :since AND minute < :until GROUP BY day, hour ORDER BY day, hour",
        **period.values,
    )
    found["weekend"] = found["day"].dt.day_of_week >= 5
    days = found.groupby("weekend")["day"].nunique()
    sums = found.groupby(["weekend", "hour"])[["sent", "logged_in", "password_errors"]].sum()
    every_hour = pd.MultiIndex.from_product([days.index, range(24)], names=["weekend", "hour"])
    means = sums.reindex(every_hour, fill_value=0).div(days, axis=0, level="weekend")
    return means.astype("float64").reset_index()


def busiest_senders(store: RowStore, period: Period, limit: int = 20) -> pd.DataFrame:
    """The accounts that sent most, and whether they were restricted."""
    return store.query(
        "SELECT account, sum(messages) AS sent, sum(recipients) AS addressed, uniqExact(network) AS networks, "
        "uniqExact(country) AS countries, account IN (SELECT subject FROM decisions WHERE subject_kind = 'account' "
        "AND mode = 'enforce') AS restricted FROM rates_per_minute "
        "WHERE minute >= :since AND minute < :until AND messages > 0 AND account != '' "
        "GROUP BY account ORDER BY sent DESC, account LIMIT :limit",
        limit=limit,
        **period.values,
    )


DAY: tuple[Query, ...] = (
    Query(
        volumes,
        {
            "start": "local time",
            "sent": "messages",
            "addressed": "recipients",
            "logged_in": "logins",
            "password_errors": "errors",
            "arrived": "deliveries",
            "returned": "bounces",
            "refused": "rejects",
            "senders": "accounts",
        },
    ),
    Query(
        countries,
        {
            "country": "ISO 3166 code, '' if unknown",
            "sent": "messages",
            "addressed": "recipients",
            "logged_in": "logins",
            "password_errors": "errors",
            "senders": "accounts",
            "networks": "IPv4 addresses and IPv6 /64",
        },
    ),
    Query(
        diurnal,
        {
            "weekend": "true or false",
            "hour": "local hour",
            "sent": "messages / h",
            "logged_in": "logins / h",
            "password_errors": "errors / h",
        },
    ),
    Query(
        busiest_senders,
        {
            "account": "name",
            "sent": "messages",
            "addressed": "recipients",
            "networks": "networks",
            "countries": "countries",
            "restricted": "1 or 0",
        },
    ),
)
