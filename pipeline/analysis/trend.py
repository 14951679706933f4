"""(a) How many abused accounts are found, through which channel, used from where, and what rule changes did."""

import pandas as pd

from pipeline.analysis.query import FOUND, Every, Period, Query, naive
from pipeline.ports import RowStore

BEFORE = pd.Timedelta(hours=1)  # what an account sent so long before it was found tells how it was abused
AGAIN = pd.Timedelta(days=7)  # an account that is found again later than this counts again
_PANDAS: dict[Every, str] = {"day": "D", "week": "W-SUN", "month": "M"}


def abused_accounts(store: RowStore, period: Period) -> pd.DataFrame:
    """Accounts that were restricted from sending, once for each time that they were found.

    ``channel`` and ``country``: most of what the account sent in the hour before.
    """
    found = store.query(
        f"SELECT subject AS account, min(issued_at) AS found_at, rule FROM decisions FINAL "
        f"WHERE {FOUND} AND issued_at >= :since AND issued_at < :until GROUP BY account, rule, issued_at "
        "ORDER BY found_at, account, rule",
        **period.values,
    )
    found = found.groupby("account", group_keys=False)[found.columns].apply(_episodes).reset_index(drop=True)
    sent = store.query(
        "SELECT account, minute, channel, country, sum(messages) AS sent FROM rates_per_minute "
        "WHERE minute >= :since AND minute < :until AND messages > 0 AND account IN "
        f"(SELECT subject FROM decisions WHERE {FOUND} AND issued_at >= :since AND issued_at < :until) "
        "GROUP BY account, minute, channel, country",
        **period.values,
    )
    near = found.reset_index(names="episode").merge(sent, on="account")
    near = near[(near["minute"] <= near["found_at"]) & (near["minute"] >= near["found_at"] - BEFORE)]
    for name in ("channel", "country"):
        most = near.groupby(["episode", name])["sent"].sum().reset_index()
        most = most.sort_values(["sent", name]).drop_duplicates("episode", keep="last").set_index("episode")[name]
        found[name] = most.reindex(found.index).fillna("").astype("str")
    sums = near.groupby("episode")["sent"].sum()
    found["sent_before"] = sums.reindex(found.index).fillna(0).astype("int64")
    found = found.sort_values(["found_at", "account"]).reset_index(drop=True)
    return found[["found_at", "account", "rule", "channel", "country", "sent_before"]]


def _episodes(of_account: pd.DataFrame) -> pd.DataFrame:
    """The first decision, and each that comes long after the one before."""
    return of_account[~(of_account["found_at"].diff() < AGAIN)]


def abused_per(store: RowStore, period: Period, every: Every = "day") -> pd.DataFrame:
    """``abused_accounts`` counted per local day, week (from Monday) or month, by channel and country."""
    found = abused_accounts(store, period)
    start = naive(found["found_at"], period.zone).dt.to_period(_PANDAS[every]).dt.start_time.astype("datetime64[s]")
    grouped = found.assign(start=start).groupby(["start", "channel", "country"])["account"].size()
    return grouped.rename("accounts").astype("int64").reset_index()


def rule_changes(store: RowStore, period: Period) -> pd.DataFrame:
    """When decisions first came of another version or threshold of a rule than the time before.

    Seen from the decisions: a change shows when it first matters.
    """
    found = store.query(
        "SELECT rule, metric, window, rule_version, threshold, min(issued_at) AS first FROM decisions FINAL "
        "WHERE metric != '' AND issued_at >= :since AND issued_at < :until "
        "GROUP BY rule, metric, window, rule_version, threshold ORDER BY rule, metric, window, first, threshold",
        **period.values,
    )
    before = found.groupby(["rule", "metric", "window"])["threshold"].shift()
    changed = found.assign(before=before)[before.notna()]
    names = {"first": "changed_at", "window": "window_seconds", "threshold": "after"}
    changed = changed.rename(columns=names).sort_values(["changed_at", "rule"]).reset_index(drop=True)
    return changed[["changed_at", "rule", "metric", "window_seconds", "before", "after"]]


TREND: tuple[Query, ...] = (
    Query(
        abused_accounts,
        {
            "found_at": "time, UTC",
            "account": "name",
            "rule": "rule that found it first",
            "channel": "smtp, webmail, access, or '' if unknown",
            "country": "ISO 3166 code, '' if unknown",
            "sent_before": "messages in the hour before",
        },
    ),
    Query(
        abused_per,
        {"start": "local date", "channel": "channel", "country": "ISO 3166 code", "accounts": "accounts found"},
    ),
    Query(
        rule_changes,
        {
            "changed_at": "time, UTC",
            "rule": "rule",
            "metric": "what is counted",
            "window_seconds": "s",
            "before": "threshold, in the metric's unit",
            "after": "threshold, in the metric's unit",
        },
    ),
)
