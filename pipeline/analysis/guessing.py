"""(c) Password errors: brute force, reverse brute force and spraying, spikes, and where they come from."""

import numpy as np
import pandas as pd

from pipeline.analysis.query import ERRORS, Every, Period, Query, filled, start_of
from pipeline.ports import RowStore

MANY_ERRORS = 10  # of one network at one account: somebody tries passwords, not an owner who mistypes
MANY_ACCOUNTS = 5  # tried by one network


def password_errors(store: RowStore, period: Period, every: Every = "minute") -> pd.DataFrame:
    """Password errors in each interval by entrance: SMTP AUTH, or the access servers (IMAP, POP3, webmail)."""
    start = start_of(every, "minute")
    found = store.query(
        f"SELECT {start} AS start, greatest(sum(errors_mta), sum(errors_sasl)) AS smtp, sum(errors) AS access "
        "FROM rates_per_minute WHERE minute >= :since AND minute < :until GROUP BY start "
        "HAVING smtp + access > 0 ORDER BY start",
        **period.values,
    )
    return filled(found, period, every)


def guessing_sources(store: RowStore, period: Period) -> pd.DataFrame:
    """Networks with password errors on a local day, the worst first, and what they seem to do.

    ``pattern``: ``reverse brute force`` (many accounts; spraying, if it tries few passwords), ``brute force`` (few
    accounts, many errors), ``mistakes`` (else).
    """
    found = store.query(
        f"SELECT toDate(minute, :zone) AS day, network, country, {ERRORS} AS guesses, "
        "uniqExactIf(account, account != '' AND errors + errors_mta + errors_sasl > 0) AS accounts, "
        "sum(logins) + sum(messages) AS successes "
        "FROM rates_per_minute WHERE minute >= :since AND minute < :until AND network != '' "
        "GROUP BY day, network, country HAVING guesses > 0 ORDER BY guesses DESC, network, day, country",
        **period.values,
    )
    found["pattern"] = np.select(
        [found["accounts"] >= MANY_ACCOUNTS, found["guesses"] >= MANY_ERRORS],
        ["reverse brute force", "brute force"],
        "mistakes",
    )
    return found.astype({"pattern": "str"})


def guessed_accounts(store: RowStore, period: Period, limit: int = 50) -> pd.DataFrame:
    """Accounts with the most password errors, and from how many networks and countries they came."""
    return store.query(
        f"SELECT account, {ERRORS} AS guesses, "
        "uniqExactIf(network, errors + errors_mta + errors_sasl > 0) AS networks, "
        "uniqExactIf(country, errors + errors_mta + errors_sasl > 0) AS countries, "
        "sum(logins) + sum(messages) AS successes FROM rates_per_minute "
        "WHERE minute >= :since AND minute < :until AND account != '' GROUP BY account HAVING guesses > 0 "
        "ORDER BY guesses DESC, account LIMIT :limit",
        limit=limit,
        **period.values,
    )


def spikes(store: RowStore, period: Period, times: float = 5.0, at_least: int = 20) -> pd.DataFrame:
    """Minutes with ``times`` as many password errors as usual (the median of minutes with any), and ``at_least``."""
    found = password_errors(store, period, "minute")
    found = found[found["smtp"] + found["access"] > 0]
    guesses = found["smtp"] + found["access"]
    usual = float(guesses.median()) if len(found) else 0.0
    chosen = found[(guesses >= at_least) & (guesses >= times * usual)]
    spiked = chosen.assign(guesses=guesses[chosen.index], usual=usual)
    return spiked[["start", "guesses", "usual"]].astype({"usual": "float64"}).reset_index(drop=True)


GUESSING: tuple[Query, ...] = (
    Query(password_errors, {"start": "local time", "smtp": "errors", "access": "errors"}),
    Query(
        guessing_sources,
        {
            "day": "local date",
            "network": "IPv4 address or IPv6 /64",
            "country": "ISO 3166 code",
            "guesses": "errors",
            "accounts": "accounts tried",
            "successes": "logins and messages",
            "pattern": "what it seems to do",
        },
    ),
    Query(
        guessed_accounts,
        {
            "account": "name",
            "guesses": "errors",
            "networks": "networks",
            "countries": "countries",
            "successes": "logins and messages",
        },
    ),
    Query(spikes, {"start": "local time", "guesses": "errors / min", "usual": "errors / min"}),
)
