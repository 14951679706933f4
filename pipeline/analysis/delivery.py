"""(g) Reputation: what became of the mail that left, through which pool of sending addresses, and whose it was."""

import pandas as pd

from pipeline.analysis.query import ABUSED, Every, Period, Query, naive, start_of
from pipeline.ports import RowStore

MAIN = "main"  # how the pool without a name is shown
MOST_POOLS = 7  # of a frame with a column for each

# Mail of accounts that was sent to other hosts; what an agent puts into a mailbox hurts no reputation.
_LEFT = (
    "kind = 'delivery' AND time >= :since AND time < :until AND account != '' "
    "AND program NOT IN ('lmtp', 'local', 'virtual')"
)
_RESULTS = (
    "toUInt64(countIf(status = 'sent')) AS arrived, toUInt64(countIf(status = 'bounced')) AS returned, "
    "toUInt64(countIf(status = 'deferred')) AS delayed, "
    "toUInt64(countIf(status = 'bounced' AND substring(dsn, 1, 4) = '5.1.')) AS unknown"
)
_COLUMNS = {
    "arrived": "recipients",
    "returned": "recipients",
    "delayed": "attempts",
    "unknown": "recipients that do not exist",
}


def by_pool(store: RowStore, period: Period, every: Every = "day") -> pd.DataFrame:
    """Deliveries by result in each interval, for each pool, for mail of accounts found abused and of all others."""
    found = store.query(
        f"SELECT {start_of(every, 'time')} AS start, if(pool = '', :main, pool) AS through, "
        f"account IN {ABUSED} AS bad, {_RESULTS} FROM events WHERE {_LEFT} "
        "GROUP BY start, through, bad ORDER BY start, through, bad",
        main=MAIN,
        **period.values,
    )
    found = found.rename(columns={"through": "pool"})
    return found.assign(start=naive(found["start"], period.zone), bad=found["bad"] == 1)


def pool_senders(store: RowStore, period: Period, limit: int = 100) -> pd.DataFrame:
    """Whose mail left through a pool other than the main one, most first; and the last decision that said so of the
    account itself, not of where it sent from."""
    found = store.query(
        f"SELECT pool AS through, account, account IN {ABUSED} AS bad, {_RESULTS}, max(time) AS last "
        f"FROM events WHERE {_LEFT} AND pool NOT IN ('', :main) "
        "GROUP BY through, account ORDER BY arrived + returned + delayed DESC, through, account LIMIT :limit",
        main=MAIN,
        limit=limit,
        **period.values,
    )
    decided = store.query(
        "SELECT subject AS account, argMax(actor, issued_at) AS decided_by, argMax(reason, issued_at) AS reason "
        "FROM decisions WHERE action = 'route' AND mode = 'enforce' AND subject_kind = 'account' "
        "AND issued_at < :until GROUP BY account",
        until=period.until,
    )
    found = found.rename(columns={"through": "pool"}).merge(decided, "left", "account")
    for name in ("decided_by", "reason"):
        found[name] = found[name].fillna("").astype("str")
    return found.assign(last=naive(found["last"], period.zone), bad=found["bad"] == 1)


def bad_shares(pools: pd.DataFrame) -> pd.DataFrame:
    """Of ``by_pool``: ``start``, and for each of the largest pools which share of its deliveries (0 to 1) was mail of
    accounts found abused. NaN where nothing left through it."""
    counted = pools.assign(n=pools["arrived"] + pools["returned"] + pools["delayed"])
    total = counted.pivot_table("n", "start", "pool", aggfunc="sum")
    bad = counted[counted["bad"]].pivot_table("n", "start", "pool", aggfunc="sum")
    share = bad.reindex_like(total).fillna(0) / total
    largest = total.sum().sort_values(ascending=False, kind="stable").index[:MOST_POOLS]
    return share[largest].rename_axis(columns=None).reset_index()


def pool_shares(pools: pd.DataFrame) -> pd.DataFrame:
    """Of ``by_pool``, for each pool over all time, the largest first: ``deliveries``, and which shares of them (0 to 1)
    were mail of accounts found ``abused``, and were ``returned`` or ``delayed``."""
    counted = pools.assign(deliveries=pools["arrived"] + pools["returned"] + pools["delayed"])
    counted["abused"] = counted["deliveries"].where(counted["bad"], 0)
    table = counted.groupby("pool")[["deliveries", "abused", "returned", "delayed"]].sum()
    shares = table[["abused", "returned", "delayed"]].div(table["deliveries"], axis=0)
    found = table[["deliveries"]].join(shares).sort_values("deliveries", ascending=False, kind="stable")
    return found.reset_index()


DELIVERY: tuple[Query, ...] = (
    Query(
        by_pool,
        {
            "start": "local time",
            "pool": "name; main for the one that has none",
            "bad": "of accounts found abused: true or false",
            **_COLUMNS,
        },
    ),
    Query(
        pool_senders,
        {
            "pool": "name",
            "account": "name",
            "bad": "account found abused: true or false",
            **_COLUMNS,
            "last": "local time",
            "decided_by": "actor of the decision, '' if none concerns the account",
            "reason": "of the decision",
        },
    ),
)
