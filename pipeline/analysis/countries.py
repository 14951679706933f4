"""(e) Country policy: who would be hurt if access from abroad were refused by default."""

import pandas as pd

from pipeline.analysis.query import ABUSED, Period, Query, naive
from pipeline.ports import RowStore

_ABROAD = "country NOT IN ('', :home) AND account != '' AND logins + messages > 0"
_USED = "minute >= :since AND minute < :until"


def used_abroad(store: RowStore, period: Period, home: str = "JP") -> pd.DataFrame:
    """Accounts that logged in or sent from abroad, and whether they were found abused: those that were not, a policy
    of "abroad refused by default" would hurt."""
    found = store.query(
        "SELECT account, uniqExact(country) AS countries, uniqExact(toDate(minute, :zone)) AS days, "
        "sum(messages) AS sent, sum(logins) AS logged_in, "
        f"account IN {ABUSED} AS abused FROM rates_per_minute "
        f"WHERE {_USED} AND {_ABROAD} GROUP BY account ORDER BY abused, days DESC, account",
        home=home,
        **period.values,
    )
    return found.assign(abused=found["abused"] == 1)


def policy_by_country(store: RowStore, period: Period, home: str = "JP") -> pd.DataFrame:
    """For each country: what refusing it would prevent (messages of abused accounts) and cost (honest accounts)."""
    return store.query(
        f"SELECT country, uniqExactIf(account, account NOT IN {ABUSED}) AS honest, "
        f"uniqExactIf(account, account IN {ABUSED}) AS stolen, "
        f"sumIf(messages, account NOT IN {ABUSED}) AS sent_honest, sumIf(messages, account IN {ABUSED}) AS sent_stolen "
        f"FROM rates_per_minute WHERE {_USED} AND {_ABROAD} GROUP BY country ORDER BY sent_stolen DESC, country",
        home=home,
        **period.values,
    )


def default_refusal(store: RowStore, period: Period, home: str = "JP") -> pd.DataFrame:
    """Per local day: honest and abused accounts seen abroad, and all accounts seen."""
    found = store.query(
        f"SELECT toDate(minute, :zone) AS day, uniqExactIf(account, {_ABROAD} AND account NOT IN {ABUSED}) AS honest, "
        f"uniqExactIf(account, {_ABROAD} AND account IN {ABUSED}) AS stolen, uniqExact(account) AS seen "
        "FROM rates_per_minute "
        f"WHERE {_USED} AND account != '' AND logins + messages > 0 GROUP BY day ORDER BY day",
        home=home,
        **period.values,
    )
    return found.assign(day=naive(found["day"], period.zone))


COUNTRIES: tuple[Query, ...] = (
    Query(
        used_abroad,
        {
            "account": "name",
            "countries": "countries abroad",
            "days": "local days abroad",
            "sent": "messages from abroad",
            "logged_in": "logins from abroad",
            "abused": "true or false",
        },
    ),
    Query(
        policy_by_country,
        {
            "country": "ISO 3166 code",
            "honest": "accounts",
            "stolen": "accounts",
            "sent_honest": "messages",
            "sent_stolen": "messages",
        },
    ),
    Query(default_refusal, {"day": "local date", "honest": "accounts", "stolen": "accounts", "seen": "accounts"}),
)
