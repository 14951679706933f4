"""Every named query, on every engine, over the sample: the same frames, with the declared columns, and true."""

import gzip
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.stores.analysis import fill_with_sample, opened
from pipeline.adapters.stores.chdb_store import ChdbStore
from pipeline.adapters.stores.clickhouse import ClickHouse
from pipeline.analysis import QUERIES, Period
from pipeline.analysis.delivery import bad_shares, by_pool, pool_shares
from pipeline.analysis.query import covered
from pipeline.analysis.sample import ATTACKS, ZONE, sample_frames
from pipeline.analysis.thresholds import LIMITS, peaks
from pipeline.analysis.trend import abused_per
from pipeline.normalize.normalizer import Normalizer
from pipeline.ports import RowStore
from pipeline.rules.config import load
from pipeline.settings import Settings, SettingsError
from pipeline.storage.storing import apply_ddl
from schemas.ddl import migrations
from schemas.event import Event
from schemas.kinds import PASSWORD_ERRORS
from tests.conftest import ENGINES
from tests.support.servers import ROOT, ClickHouseServer

DAYS = 8
RECORDED = ROOT / "pipeline" / "adapters" / "demo" / "recorded"
STOLEN = "victim01@customer3.example"
ARGUMENTS: dict[str, dict[str, object]] = {"timeline": {"account": STOLEN}}
Frames = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def asked(
    tmp_path_factory: pytest.TempPathFactory, _clickhouse: Callable[[], ClickHouseServer]
) -> Callable[[str], tuple[Frames, Period]]:
    """engine -> the frame of every query, and the period."""
    memory: dict[str, tuple[Frames, Period]] = {}

    def ask(engine: str) -> tuple[Frames, Period]:
        if engine not in memory:
            if engine == "chdb":
                store: RowStore = ChdbStore(tmp_path_factory.mktemp("chdb"))
            else:
                store = ClickHouse(_clickhouse().address)
                for name in store.query("SELECT name FROM system.tables WHERE database = currentDatabase()")["name"]:
                    store.execute(f"DROP TABLE IF EXISTS `{name}`")
            try:
                fill_with_sample(store, DAYS)
                period = covered(store, ZONE.key)
                frames = {q.name: q.function(store, period, **ARGUMENTS.get(q.name, {})) for q in QUERIES}
                frames["abused per week"] = abused_per(store, period, "week")
                frames["home peaks"] = peaks(store, period, "recipients", 60, "home")
                memory[engine] = frames, period
            finally:
                store.close()
        return memory[engine]

    return ask


@cache
def events() -> list[Event]:
    names = ("mail", "dovecot", "pools")
    mail, dovecot, pools = (gzip.decompress((RECORDED / f"{name}.log.gz").read_bytes()) for name in names)
    normalizer = Normalizer(load(None).trusted, UTC, GeoFile(RECORDED / "geo.mmdb"))
    frames = enumerate(sample_frames(mail, dovecot, pools, DAYS))
    return [e for n, (_, frame, reference) in frames for e in normalizer.normalize(frame, reference, "s", n).events]


def of_kind(kind: str) -> list[Event]:
    return [event for event in events() if event.kind == kind]


def local(event: Event) -> datetime:
    return event.time.astimezone(ZONE).replace(tzinfo=None)


def minute(event: Event) -> datetime:
    return local(event).replace(second=0, microsecond=0)


def failures() -> list[Event]:
    return [e for e in of_kind("auth_failure") if e.reason in PASSWORD_ERRORS]


def is_mta(event: Event) -> bool:
    return event.program == "smtpd"


def access_errors() -> int:
    return sum(e.count for e in failures() if not is_mta(e) and e.service != "smtp")


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def check_abused_accounts(frame: pd.DataFrame) -> None:
    """Those that the recording says are abusive and the logs can tell, at each of their appearances."""
    found = Counter(account.partition("@")[0] for account in frame["account"] if account.endswith("customer3.example"))
    assert {"victim01", "takeover01", "web01", "spoof01"} <= set(found) <= {*found, "spoof02", "news01"}
    assert set(found.values()) == {1}
    victim = rows(frame[frame["account"] == STOLEN])[0]
    assert (victim["rule"], victim["channel"]) == ("account_many_origins", "smtp")
    assert frame["found_at"].is_monotonic_increasing


def check_abused_per(frame: pd.DataFrame) -> None:
    assert frame["start"].min() == pd.Timestamp(2026, 11, 2)
    assert set(frame["channel"]) <= {"smtp", "webmail", ""}


def check_rule_changes(frame: pd.DataFrame) -> None:
    change = rows(frame)[0]
    assert (change["rule"], change["metric"], change["before"], change["after"]) == (
        "account_send_rate",
        "messages",
        20.0,
        10.0,
    )
    assert change["changed_at"] >= pd.Timestamp("2026-11-09", tz=ZONE)
    assert len(frame) == 1


def check_volumes(frame: pd.DataFrame) -> None:
    assert frame["sent"].sum() == len(of_kind("submission"))
    assert frame["addressed"].sum() == sum(e.nrcpt or 1 for e in of_kind("submission"))
    assert frame["logged_in"].sum() == sum(e.count for e in of_kind("auth_success"))
    assert frame["refused"].sum() == len(of_kind("reject"))
    hours = Counter(local(e).replace(minute=0, second=0, microsecond=0) for e in of_kind("submission"))
    assert {row["start"]: row["sent"] for row in rows(frame) if row["sent"]} == {
        pd.Timestamp(hour): count for hour, count in hours.items()
    }


def check_countries(frame: pd.DataFrame) -> None:
    sent = Counter(e.country for e in of_kind("submission") if e.network)
    assert {row["country"]: row["sent"] for row in rows(frame) if row["sent"]} == sent


def check_diurnal(frame: pd.DataFrame) -> None:
    assert len(frame) == 48
    days: dict[bool, set[object]] = defaultdict(set)
    for event in events():
        days[local(event).weekday() >= 5].add(local(event).date())
    for weekend in (False, True):
        sent = sum(local(e).weekday() >= 5 for e in of_kind("submission"))
        sent = sent if weekend else len(of_kind("submission")) - sent
        mean = frame[frame["weekend"] == weekend]["sent"].sum()
        assert mean * len(days[weekend]) == pytest.approx(sent)


def check_busiest_senders(frame: pd.DataFrame) -> None:
    sent = Counter(e.account for e in of_kind("submission"))
    assert frame["sent"].tolist() == sorted(sent.values(), reverse=True)[:20]
    assert {row["account"]: row["sent"] for row in rows(frame)}.items() <= sent.items()
    assert 0 < frame["restricted"].sum() < 20


def check_password_errors(frame: pd.DataFrame) -> None:
    assert frame["access"].sum() == access_errors()
    sides: dict[datetime, Counter[bool]] = defaultdict(Counter)
    for event in failures():
        if is_mta(event) or event.service == "smtp":
            sides[minute(event)][is_mta(event)] += event.count
    assert frame["smtp"].sum() == sum(max(side.values()) for side in sides.values())


def check_guessing_sources(frame: pd.DataFrame) -> None:
    patterns = dict(zip(frame["network"], frame["pattern"], strict=True))
    assert patterns["198.18.124.228"] == "brute force"  # at bftarget
    assert patterns["198.18.135.193"] == "reverse brute force"  # at 60 members
    assert "mistakes" in patterns.values()
    assert frame["guesses"].is_monotonic_decreasing


def check_guessed_accounts(frame: pd.DataFrame) -> None:
    by_name = {row["account"]: row for row in rows(frame)}
    assert by_name["disttarget@customer3.example"]["networks"] > 20
    assert by_name["bftarget@customer3.example"]["networks"] == 1
    assert by_name["bftarget@customer3.example"]["successes"] == 0


def check_spikes(frame: pd.DataFrame) -> None:
    assert len(frame) >= 10
    assert (frame["guesses"] >= 5 * frame["usual"]).all()


def check_peaks(frame: pd.DataFrame) -> None:
    sent: dict[str, Counter[datetime]] = defaultdict(Counter)
    for event in of_kind("submission"):
        sent[event.account or ""][minute(event)] += 1
    for name in (STOLEN, "normal01@example.jp", "office03@example.jp"):
        within = [
            sum(n for at, n in sent[name].items() if end - timedelta(minutes=9) <= at <= end) for end in sent[name]
        ]
        assert frame.set_index("account")["peak"][name] == max(within)
    assert frame.set_index("account")["abused"][STOLEN]
    assert len(frame) == len(set(sent) - {""})


def check_trade_off(frame: pd.DataFrame) -> None:
    assert frame["limit"].tolist() == list(LIMITS)
    for name in ("caught", "hurt", "caught_share", "hurt_share"):
        assert frame[name].is_monotonic_decreasing
    assert frame["hurt_share"][0] == frame["caught_share"][0] == 1.0
    assert frame["hurt"].iloc[-1] == 0


def check_used_abroad(frame: pd.DataFrame) -> None:
    by_name = {row["account"]: row for row in rows(frame)}
    assert not by_name["travel01@example.jp"]["abused"]
    assert by_name[STOLEN]["abused"]
    travels = [e for e in events() if e.account == "travel01@example.jp" and e.country not in ("JP", "", None)]
    assert by_name["travel01@example.jp"]["sent"] == sum(e.kind == "submission" for e in travels)
    assert by_name["travel01@example.jp"]["logged_in"] == sum(e.kind == "auth_success" for e in travels)


def check_policy_by_country(frame: pd.DataFrame) -> None:
    by_country = {row["country"]: row for row in rows(frame)}
    assert by_country["NG"]["sent_stolen"] > 0 == by_country["NG"]["honest"]
    assert by_country["FR"]["honest"] > 0 == by_country["FR"]["sent_stolen"]
    assert "JP" not in by_country


def check_default_refusal(frame: pd.DataFrame) -> None:
    assert frame["day"].tolist() == [pd.Timestamp(2026, 11, 2) + pd.Timedelta(days=n) for n in range(DAYS)]
    assert (frame["honest"] + frame["stolen"] <= frame["seen"]).all()
    assert [stolen > 0 for stolen in frame["stolen"]] == [attacks > 0 for attacks in ATTACKS[:DAYS]]


def check_incidents(frame: pd.DataFrame) -> None:
    by_name = {row["account"]: row for row in rows(frame)}
    assert by_name[STOLEN]["sent"] == sum(e.account == STOLEN for e in of_kind("submission"))
    assert "normal01@example.jp" not in by_name


def check_timeline(frame: pd.DataFrame) -> None:
    assert set(frame["kind"]) == {"message", "bounce", "decision", "release"}
    assert frame[frame["kind"] == "message"]["count"].sum() == sum(e.account == STOLEN for e in of_kind("submission"))
    decision = rows(frame[frame["kind"] == "decision"])[0]
    assert decision["detail"].startswith("reject send: ")
    assert frame["time"].is_monotonic_increasing


def deliveries() -> list[Event]:
    return [e for e in of_kind("delivery") if e.account]


def bad(event: Event) -> bool:
    """Abused accounts have the same names in every copy of the recordings."""
    return (event.account or "").partition("@")[0] in ("victim01", "takeover01", "web01", "spoof01", "spoof02")


def check_by_pool(frame: pd.DataFrame) -> None:
    for result, status in (("arrived", "sent"), ("returned", "bounced"), ("delayed", "deferred")):
        counted = Counter((e.pool or "main", pd.Timestamp(local(e).date())) for e in deliveries() if e.status == status)
        found = frame.groupby(["pool", "start"])[result].sum()
        assert {key: number for key, number in found.items() if number} == counted
    slow = [e for e in deliveries() if e.pool == "slow"]
    assert frame[frame["pool"] == "slow"]["unknown"].sum() == sum((e.dsn or "").startswith("5.1.") for e in slow)
    assert set(frame["pool"]) == {"main", "slow"}
    slow_days = {day for day, attacks in enumerate(ATTACKS[:DAYS]) if attacks}
    assert {at.day - 2 for at in frame[frame["pool"] == "slow"]["start"]} == slow_days
    for pool in ("main", "slow"):
        left = frame[(frame["pool"] == pool) & frame["bad"]]["arrived"].sum()
        assert left >= sum(e.status == "sent" and (e.pool or "main") == pool and bad(e) for e in deliveries()) > 0
    share = bad_shares(frame)
    assert (share["slow"].dropna() > 0.5).all()
    assert (share["main"] < 0.5).all()
    assert share["slow"].isna().sum() == DAYS - len(slow_days)


def check_pool_senders(frame: pd.DataFrame) -> None:
    sent = Counter(e.account for e in deliveries() if e.pool == "slow")
    assert dict(zip(frame["account"], frame[["arrived", "returned", "delayed"]].sum(axis=1), strict=True)).items() <= (
        sent.items()
    )
    assert len(frame) == min(100, len(sent))
    by_name = {row["account"]: row for row in rows(frame)}
    stolen, guest = by_name[STOLEN], by_name["travel01@customer3.example"]
    assert (stolen["bad"], stolen["decided_by"]) == (True, "operator:hana")
    assert (guest["bad"], guest["decided_by"], guest["reason"], guest["returned"]) == (False, "", "", 0)
    last = max(e.time for e in deliveries() if e.pool and e.account == STOLEN).astimezone(ZONE)
    assert stolen["last"] == pd.Timestamp(last.replace(tzinfo=None))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [query.name for query in QUERIES])
def test_query(asked: Callable[[str], tuple[Frames, Period]], name: str, engine: str) -> None:
    frame = asked(engine)[0][name]
    query = next(query for query in QUERIES if query.name == name)
    assert list(frame.columns) == list(query.columns)
    assert "object" not in set(frame.dtypes.astype(str))
    assert len(frame) > 0
    globals()[f"check_{name}"](frame)


@pytest.mark.servers
def test_engines_give_the_same_frames(asked: Callable[[str], tuple[Frames, Period]]) -> None:
    (embedded, period), (server, other) = asked("chdb"), asked("clickhouse")
    assert period == other
    assert embedded.keys() == server.keys()
    for name, frame in embedded.items():
        pd.testing.assert_frame_equal(frame, server[name], obj=name)


def test_weeks_begin_on_monday(asked: Callable[[str], tuple[Frames, Period]]) -> None:
    frames, _ = asked("chdb")
    weeks = frames["abused per week"]
    assert set(weeks["start"]) == {pd.Timestamp(2026, 11, 2), pd.Timestamp(2026, 11, 9)}
    assert weeks["accounts"].sum() == len(frames["abused_accounts"])


def test_shares_of_pools(asked: Callable[[str], tuple[Frames, Period]]) -> None:
    day, next_day = pd.Timestamp(2026, 11, 2), pd.Timestamp(2026, 11, 3)
    frame = pd.DataFrame(
        [
            (day, "main", False, 90, 0, 0, 0),
            (day, "main", True, 5, 3, 2, 3),
            (day, "slow", True, 1, 1, 0, 1),
            (next_day, "main", False, 50, 50, 0, 0),
        ],
        columns=["start", "pool", "bad", "arrived", "returned", "delayed", "unknown"],
    )
    share = bad_shares(frame)
    assert list(share.columns) == ["start", "main", "slow"]
    assert share["main"].tolist() == [0.1, 0.0]
    assert share["slow"].fillna(-1).tolist() == [1.0, -1.0]
    pools = pool_shares(frame)
    assert pools["pool"].tolist() == ["main", "slow"]
    assert pools["deliveries"].tolist() == [200, 2]
    assert pools["abused"].tolist() == [0.05, 1.0]
    assert pools["returned"].tolist() == [53 / 200, 0.5]
    nothing = frame[:0]
    assert bad_shares(nothing).empty
    assert pool_shares(nothing).empty
    many = pd.concat([frame.assign(pool=f"pool{n}", arrived=n) for n in range(20)])
    assert len(bad_shares(many).columns) == 8
    assert asked("chdb")[0]["by_pool"].columns.tolist() == frame.columns.tolist()


@pytest.mark.parametrize("name", [query.name for query in QUERIES])
def test_a_period_without_data_gives_an_empty_frame_of_the_same_types(store: RowStore, name: str) -> None:
    query = next(query for query in QUERIES if query.name == name)
    nothing = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC), "Asia/Tokyo")
    frame = query.function(store, nothing, **ARGUMENTS.get(name, {}))
    assert list(frame.columns) == list(query.columns)


def test_an_empty_store_says_what_to_do(store: RowStore, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="sekimori load"):
        covered(store)
    with (
        pytest.raises(SettingsError, match="there is no folder"),
        opened(replace(Settings(), analysis=tmp_path / "nowhere")),
    ):
        pass


def test_a_folder_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    with ChdbStore(tmp_path / "db") as store:
        apply_ddl(store, [migration for migration in migrations() if migration.number <= 5])
        store.insert("events", {"kind": ["delivery"], "time": [1_795_485_043], "status": ["sent"], "account": ["a"]})
    with opened(Settings(analysis=tmp_path / "db")) as (folder, period):
        assert by_pool(folder, period)[["pool", "arrived"]].to_numpy().tolist() == [["main", 1]]


def test_a_folder_is_preferred_and_opened_as_it_is(tmp_path: Path) -> None:
    with ChdbStore(tmp_path / "db") as store:
        apply_ddl(store)
        store.insert("events", {"kind": ["submission"], "time": [1_795_485_043], "source": ["x"]})
    with opened(Settings(analysis=tmp_path / "db", clickhouse="nowhere:1", zone="Asia/Tokyo")) as (folder, period):
        assert folder.query("SELECT count() AS n FROM events")["n"].tolist() == [1]
        assert period == Period(
            datetime(2026, 11, 24, 1, 50, tzinfo=UTC), datetime(2026, 11, 24, 1, 51, tzinfo=UTC), "Asia/Tokyo"
        )
