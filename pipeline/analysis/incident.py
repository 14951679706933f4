"""(f) One incident: what happened to a stolen account, from the first guess to the release."""

import pandas as pd

from pipeline.analysis.query import ERRORS, FOUND, Period, Query, naive
from pipeline.ports import RowStore


def incidents(store: RowStore, period: Period, limit: int = 50) -> pd.DataFrame:
    """Accounts that were found abused, those that sent most first."""
    return store.query(
        f"SELECT account, sum(messages) AS sent, sum(recipients) AS addressed, {ERRORS} AS guesses, "
        "uniqExact(country) AS countries "
        "FROM rates_per_minute WHERE minute >= :since AND minute < :until AND account IN "
        f"(SELECT subject FROM decisions WHERE {FOUND} AND issued_at >= :since AND issued_at < :until) "
        "GROUP BY account ORDER BY sent DESC, account LIMIT :limit",
        limit=limit,
        **period.values,
    )


def timeline(store: RowStore, period: Period, account: str) -> pd.DataFrame:
    """What happened to an account, minute by minute: guesses, logins, messages, bounces, and what was decided.

    ``kind``: password error, login, message, bounce, reject, decision, release. ``count``: how many in that minute from
    that network.
    """
    happened = store.query(
        "SELECT toStartOfMinute(time) AS at, multiIf(kind = 'auth_failure', 'password error', "
        "kind = 'auth_success', 'login', kind = 'submission', 'message', kind = 'delivery', 'bounce', 'reject') "
        "AS what, network AS origin, country AS place, toUInt64(sum(count)) AS n, "
        "anyLast(if(reason = '', service, reason)) AS note FROM events "
        "WHERE time >= :since AND time < :until AND account = :account AND (kind IN ('auth_failure', 'auth_success', "
        "'submission', 'reject') OR (kind = 'delivery' AND status = 'bounced')) GROUP BY at, what, origin, place",
        account=account,
        **period.values,
    )
    decided = store.query(
        "SELECT issued_at AS at, 'decision' AS what, '' AS origin, '' AS place, toUInt64(1) AS n, "
        "concat(action, ' ', scope, ': ', reason) AS note FROM decisions FINAL "
        "WHERE issued_at >= :since AND issued_at < :until AND subject_kind = 'account' AND subject = :account",
        account=account,
        **period.values,
    )
    lifted = store.query(
        "SELECT time AS at, 'release' AS what, '' AS origin, '' AS place, toUInt64(1) AS n, "
        "concat(actor, ': ', note) AS note FROM releases FINAL "
        "WHERE time >= :since AND subject_kind = 'account' AND subject = :account",
        account=account,
        since=period.since,
    )
    names = {"at": "time", "what": "kind", "origin": "network", "place": "country", "n": "count", "note": "detail"}
    parts = [part.rename(columns=names) for part in (happened, decided, lifted) if len(part)]
    rows = pd.concat(parts) if parts else happened.rename(columns=names)
    rows = rows.sort_values(["time", "kind", "network", "country"]).reset_index(drop=True)
    rows.loc[~rows["kind"].isin(["decision", "release"]), "detail"] = ""
    return rows.assign(time=naive(rows["time"], period.zone))


INCIDENT: tuple[Query, ...] = (
    Query(
        incidents,
        {
            "account": "name",
            "sent": "messages",
            "addressed": "recipients",
            "guesses": "errors",
            "countries": "countries",
        },
    ),
    Query(
        timeline,
        {
            "time": "local time",
            "kind": "what happened",
            "network": "IPv4 address or IPv6 /64, '' if none",
            "country": "ISO 3166 code, '' if none",
            "count": "times within the minute",
            "detail": "of decisions and releases",
        },
    ),
)
