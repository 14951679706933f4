"""Backtest and suggest on recorded logs: by the same path as replay, whatever the number of processes."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC
from pathlib import Path

import msgspec
import pytest

from pipeline.adapters.stores.chdb_store import ChdbStore
from pipeline.adapters.stores.clickhouse import ClickHouse
from pipeline.adapters.trials import reading
from pipeline.adapters.trials.backtest import Backtest, run_backtest
from pipeline.rules.config import RulesFile, load
from pipeline.storage.events import events_of, slices
from pipeline.storage.storing import EventFrame, Sink, apply_ddl
from pipeline.trials.plan import Logs, Plan, StoredEvents
from schemas.enforcement import Decision
from schemas.event import Event
from tests.support.cases import ENDED, prepare
from tests.support.copies import copies
from tests.support.paths import ROOT
from tests.support.servers import ClickHouseServer
from tests.support.truth import replay_files
from tests.support.waves import CUSTOMERS, LIMITS, WAVE, WILD, rules, wave

STRICTER = '[rules.account_send_rate.limits]\nabroad = ["10 messages / 10m"]\n'
LOOSER = '[rules.account_send_rate]\nmode = "shadow"\n[rules.foreign_senders]\nmode = "off"\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("recorded"))


def tried(files: list[Path], rules: list[RulesFile], jobs: int, geo: Path, **more: float) -> Backtest:
    plan = Plan(Logs(tuple(files), UTC, geo), tuple(rules), "JP", **more)
    return run_backtest(plan, (), jobs, lambda what, part: None)


def plain(decisions: list[Decision]) -> list[Decision]:
    """In one order, and without sample lines, which a backtest leaves out."""
    bare = (
        msgspec.structs.replace(d, evidence=msgspec.structs.replace(d.evidence, queue_ids=(), lines=()))
        for d in decisions
    )
    return sorted(bare, key=lambda d: (d.issued_at, d.key))


def sekimori(place: Path, *arguments: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)} | env
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def compared(place: Path, rules: str, *more: str) -> dict:
    (place / "new.toml").write_text(rules)
    arguments = ("--rules", "new.toml", "--geoip", "geo.mmdb", "--cases", "cases.jsonl", "--json")
    return json.loads(sekimori(place, "backtest", "mail.log", "dovecot.log", *arguments, *more).stdout)


@pytest.mark.parametrize("jobs", [1, 3])
def test_decisions_are_those_of_a_replay(place: Path, tmp_path: Path, jobs: int) -> None:
    files = [place / "mail.log", place / "dovecot.log"]
    for number, lines in enumerate(copies(3)):
        path = tmp_path / f"{number}.log"
        path.write_bytes(b"\n".join(lines) + b"\n")
        os.utime(path, (ENDED, ENDED))
        files.append(path)
    expected = plain(replay_files(files, place / "geo.mmdb"))
    found = tried(files, [load(None), load(None)], jobs, place / "geo.mmdb")
    assert len(expected) > 300
    for one in found.tried:
        assert plain(one.decisions) == expected
    one, two = (one.effects for one in found.tried)
    assert one == two
    assert one.messages > 3000


@pytest.mark.parametrize("jobs", [1, 3])
def test_files_that_hold_the_same_lines(place: Path, tmp_path: Path, jobs: int) -> None:
    """mail.log and syslog: decisions are those of a replay, which are those of one of them."""
    logs = [place / "mail.log", place / "dovecot.log"]
    syslog, part = tmp_path / "syslog", tmp_path / "mail.log.old"
    lines = [line for log in logs for line in log.read_bytes().splitlines()]
    syslog.write_bytes(b"\n".join(sorted(lines, key=lambda line: line[:15])) + b"\n")
    part.write_bytes(b"".join(logs[0].read_bytes().splitlines(keepends=True)[500:1500]))
    for path in (syslog, part):
        os.utime(path, (ENDED, ENDED))
    files = [*logs, part, syslog, logs[1]]
    expected = plain(replay_files(files, place / "geo.mmdb"))
    once = plain(replay_files(logs, place / "geo.mmdb"))
    assert {(d.rule, d.subject) for d in expected} == {(d.rule, d.subject) for d in once}
    found = tried(files, [load(None), load(None)], jobs, place / "geo.mmdb")
    assert [plain(one.decisions) for one in found.tried] == [expected] * 2
    assert (
        found.tried[0].effects.messages == tried(logs, [load(None)], jobs, place / "geo.mmdb").tried[0].effects.messages
    )
    assert found.counts.doubled > 1000


def test_parallel_and_sequential_are_the_same_with_rules_that_differ_in_what_they_trust(place: Path) -> None:
    files = [place / "mail.log", place / "dovecot.log"]
    trusting = msgspec.structs.replace(
        load(None), trusted=msgspec.structs.replace(load(None).trusted, hosts=["127.0.0.1", "198.18.0.0/15"])
    )
    one, four = (tried(files, [load(None), trusting, load(None)], jobs, place / "geo.mmdb") for jobs in (1, 4))
    assert one == four
    assert one.tried[0] == one.tried[2]
    assert len(one.tried[1].decisions) < len(one.tried[0].decisions)


def test_from_and_to(place: Path) -> None:
    files, rules = [place / "mail.log", place / "dovecot.log"], [load(None)]
    middle = ENDED - 180.0
    (whole,), (first,), (last,) = (
        tried(files, rules, 2, place / "geo.mmdb", **span).tried for span in ({}, {"stop": middle}, {"start": middle})
    )
    assert first.decisions == [d for d in whole.decisions if d.issued_at.timestamp() < middle]
    assert last.decisions == [d for d in whole.decisions if d.issued_at.timestamp() >= middle]
    assert first.decisions
    assert last.decisions
    assert first.effects.messages + last.effects.messages == whole.effects.messages


@pytest.fixture(scope="module")
def loaded(place: Path) -> Path:
    """The recorded logs as stored events, and what was decided on them."""
    sekimori(place, "load", "mail.log", "dovecot.log", "--geoip", "geo.mmdb", "--into", "folder")
    return place / "folder"


def test_stored_events_are_decided_on_as_they_were(loaded: Path, place: Path) -> None:
    expected = plain(replay_files([place / "mail.log", place / "dovecot.log"], place / "geo.mmdb"))
    for jobs in (1, 3):
        plan = Plan(StoredEvents(str(loaded)), (load(None), load(None)), "JP")
        for one in run_backtest(plan, (), jobs, lambda what, part: None).tried:
            assert plain(one.decisions) == expected
    assert len(expected) > 100


def test_a_store_is_read_in_slices(loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame may lie in two of them, and then is two frames: on these logs it makes no difference."""
    plan = Plan(StoredEvents(str(loaded)), (load(None),), "JP")
    (whole,) = run_backtest(plan, (), 2, lambda what, part: None).tried
    monkeypatch.setattr(reading, "slices", lambda *between: slices(*between, size=500))
    (parts,) = run_backtest(plan, (), 2, lambda what, part: None).tried
    assert parts.decisions == whole.decisions
    assert parts.effects.messages == whole.effects.messages


def test_stored_events_on_a_server(loaded: Path, clickhouse: ClickHouseServer) -> None:
    frames: dict[tuple[str, int], list[Event]] = {}
    with ChdbStore(loaded) as folder:
        rows = folder.query("SELECT * FROM events ORDER BY source, frame, record")
        loads = folder.query("SELECT digest, source, name FROM loads")
    columns = {name: rows[name].tolist() for name in rows.columns}
    columns["time"] = [int(time.timestamp()) for time in columns["time"]]
    for source, frame, event in zip(columns["source"], columns["frame"], events_of(columns), strict=True):
        frames.setdefault((source, frame), []).append(event)
    with ClickHouse(clickhouse.address) as server:
        apply_ddl(server)
        sink = Sink(server)
        for (source, number), of_frame in frames.items():
            sink.add(EventFrame(source, number, of_frame))
        sink.flush()
        server.insert("loads", {name: loads[name].tolist() for name in loads})
    plans = (Plan(StoredEvents(place), (load(None),), "JP") for place in (str(loaded), clickhouse.address))
    one, other = (run_backtest(plan, (), 2, lambda what, part: None) for plan in plans)
    assert one == other


def test_backtest_and_suggest_of_a_store(loaded: Path) -> None:
    place = loaded.parent
    (place / "new.toml").write_text(STRICTER)
    arguments = ("--cases", "cases.jsonl", "--json")
    by_option = sekimori(place, "backtest", "--rules", "new.toml", "--stored", "folder", *arguments).stdout
    by_setting = sekimori(place, "backtest", "--rules", "new.toml", *arguments, SEKIMORI_ANALYSIS="folder").stdout
    it = json.loads(by_option)
    assert by_setting == by_option
    assert {c["kind"] for c in it["changes"] if c["after"]["rule"] == "account_send_rate"} == {"earlier"}
    assert it["new"]["accounts"]["recall"] == 1.0
    of_store, of_logs = (
        json.loads(
            sekimori(place, "suggest", *origin, *arguments, "--rule", "account_send_rate").stdout.splitlines()[0]
        )
        for origin in (("--stored", "folder"), ("mail.log", "dovecot.log", "--geoip", "geo.mmdb"))
    )
    assert of_store == of_logs


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "give log FILES, or --stored"),
        (("mail.log", "--stored", "folder"), "give one of the two"),
        (("--stored", "folder", "--geoip", "geo.mmdb"), "stored events have the countries"),
        (("--stored", "folder", "--from", "2030-01-01"), "holds no events of that time"),
        (("--stored", "nowhere"), "there is no folder nowhere"),
        (("--stored", "empty"), "was not made by `sekimori load`"),
        (("--stored", "127.0.0.1:1"), "does not answer"),
    ],
)
def test_where_nothing_is_stored_is_told(loaded: Path, arguments: tuple[str, ...], why: str) -> None:
    place = loaded.parent
    (place / "empty").mkdir(exist_ok=True)
    (place / "new.toml").write_text("")
    done = sekimori(place, "backtest", "--rules", "new.toml", *arguments, check=False)
    assert done.returncode != 0
    assert why in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list((place / "empty").iterdir())


def test_a_file_of_which_nothing_is_understood_is_told(place: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.log"
    odd.write_bytes(b"24.11. 1:50 mx postfix/smtpd[1]: connect from unknown[192.0.2.7]\n" * 3)
    (tmp_path / "rules.toml").write_text(LOOSER)
    rules = str(tmp_path / "rules.toml")
    for more in ((str(odd),), (str(odd), "mail.log"), (str(odd), "mail.log", "mail.log")):  # the last is read together
        done = sekimori(place, "backtest", "--rules", rules, *more, check=False)
        assert done.returncode == 1, more
        assert "odd.log: no line of it is understood" in done.stderr
        assert "3 lines look like mail log and were not understood" in done.stderr
        assert " mail.log" not in done.stderr.partition("Error: ")[2]


def test_the_same_rules_make_no_difference(place: Path) -> None:
    it = compared(place, "")
    assert (it["changes"], it["accounts"]) == ([], [])
    assert it["new"] | {"name": ""} == it["baseline"] | {"name": ""}
    assert it["lines"] == 8337
    known = it["new"]["accounts"]
    assert (known["abused"], known["found"], known["hurt"], known["precision"], known["recall"]) == (5, 5, [], 1.0, 1.0)
    assert known["median"] <= 30
    assert it["new"]["addresses"]["hurt"] == []


def test_stricter_rules_find_earlier_and_leak_less(place: Path) -> None:
    it = compared(place, STRICTER)
    earlier = {c["after"]["subject"] for c in it["changes"] if c["kind"] == "earlier"}
    assert {"victim01@testbed.example", "takeover01@testbed.example"} <= earlier
    assert {c["kind"] for c in it["changes"] if c["after"]["rule"] == "account_send_rate"} == {"earlier"}
    assert all(c["seconds"] < 0 for c in it["changes"] if c["kind"] == "earlier")
    assert it["new"]["accounts"]["leaked"] < it["baseline"]["accounts"]["leaked"]
    (victim,) = (
        c
        for c in it["changes"]
        if c["after"]["rule"] == "account_send_rate" and c["after"]["subject"] == "victim01@testbed.example"
    )
    before, after = victim["effects"]["before"], victim["effects"]["after"]
    assert after["messages"] - before["messages"] == before["left"] - after["left"] > 0
    turns = {a["account"]: a["turn"] for a in it["accounts"]}
    assert turns["victim01@testbed.example"] == "caught"
    assert set(turns.values()) == {"caught"}


def test_looser_rules_lose_accounts(place: Path) -> None:
    it = compared(place, LOOSER, "--jobs", "1")
    gone = {c["before"]["subject"] for c in it["changes"] if c["kind"] == "removed"}
    assert {"spoof01@testbed.example", "web01@testbed.example"} <= gone
    assert set(it["new"]["shadow"]) == {"account_send_rate"}
    assert {"spoof01@testbed.example", "web01@testbed.example"} <= set(it["new"]["accounts"]["missed"])
    assert it["new"]["accounts"]["recall"] < 1.0
    assert {a["turn"] for a in it["accounts"]} == {"lost"}


def test_hostile_lines_reach_neither_page_nor_terminal(place: Path, tmp_path: Path) -> None:
    prepare(tmp_path)
    for name in ("mail.log", "dovecot.log"):
        content = (tmp_path / name).read_bytes().replace(b"victim01", b"<script>alert(1)</script>\x1b[2J\xc2\x9b")
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (ENDED, ENDED))
    (tmp_path / "new.toml").write_text(STRICTER)
    arguments = ("--rules", "new.toml", "--geoip", "geo.mmdb", "--html", "page.html")
    done = sekimori(tmp_path, "backtest", "mail.log", "dovecot.log", *arguments)
    text = (tmp_path / "page.html").read_text()
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text
    assert "\x1b" not in done.stdout
    assert "\x9b" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--rules", "bad.toml"), "there is no such rule"),
        (("--rules", "new.toml", "--cases", "bad.csv"), "case 1: label"),
        (("--rules", "new.toml", "--geoip", "bad.csv"), "no usable MaxMind DB"),
        (("--rules", "new.toml", "--html", "nowhere/page.html"), "no folder nowhere"),
        (("--rules", "new.toml", "--zone", "Mars/Base"), "no IANA zone"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_read(place: Path, arguments: tuple[str, ...], why: str) -> None:
    (place / "bad.toml").write_text("[rules.nothing]\n")
    (place / "bad.csv").write_text("subject,label\na,guilty\n")
    (place / "new.toml").write_text("")
    done = sekimori(place, "backtest", "mail.log", *arguments, check=False)
    assert done.returncode != 0
    assert why in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(place: Path, tmp_path: Path, number: int) -> None:
    (place / "new.toml").write_text("")
    endless, folder = tmp_path / "endless.log", tmp_path / "temporary"
    os.mkfifo(endless)
    folder.mkdir()
    command = [sys.executable, "-m", "pipeline.cli", "backtest", str(endless), "--rules", "new.toml", "--jobs", "2"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    with subprocess.Popen(command, cwd=place, env=env, stderr=subprocess.DEVNULL) as process, endless.open("wb"):
        process.send_signal(number)  # a worker reads, since the file could be opened for writing
        assert process.wait(10) != 0
    assert list(folder.iterdir()) == []


# --- the brake ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gone_wild(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wild")
    wave(folder)
    rules(folder, WILD)
    rules(folder, f"[brake]\nhourly = 0\n{LIMITS}", "free.toml")
    return folder


@pytest.mark.parametrize("partitions", [1, 3, 4])
def test_what_the_brake_would_hold_is_the_same_in_one_process_in_two_and_in_a_replay(
    gone_wild: Path, partitions: int
) -> None:
    more = ("--rules", "rules.toml", "--json")
    where = {"SEKIMORI_PARTITIONS": str(partitions)}
    one, two = (
        json.loads(sekimori(gone_wild, "backtest", "wave.log", *more, "--jobs", jobs, **where).stdout)
        for jobs in ("1", "2")
    )
    assert one == two
    assert one["baseline"]["would_hold"] == {"partitions": partitions, "rules": [], "hourly": None}
    would = one["new"]["would_hold"]
    held = CUSTOMERS - 3 * partitions
    assert [(of["rule"], of["decisions"], of["subjects"]) for of in would["rules"]] == [
        ("account_send_rate", held, held)
    ]
    replay = sekimori(gone_wild, "replay", "wave.log", *more, **where)
    of_replay = [d for d in map(json.loads, replay.stdout.splitlines()) if "would_hold" in d]
    assert len(of_replay) == held
    assert of_replay[0]["issued_at"] == would["rules"][0]["first"]
    assert f"hourly = {would['hourly']}`" in replay.stderr


def test_a_backtest_says_it_in_words_and_decides_as_without_a_brake(gone_wild: Path) -> None:
    more = ("--baseline", "free.toml", "--html", "page.html")
    done = sekimori(gone_wild, "backtest", "wave.log", "--rules", "rules.toml", *more)
    held = CUSTOMERS - 12
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert f"the brake would hold 0 {held}" in rows
    assert any(row.startswith(f"account_send_rate 0 {held} ({held} subjects, first 11-26 01:0") for row in rows)
    assert any(row.startswith("all would pass with - hourly = ") for row in rows)
    said = "It counted on 4 partitions, each for itself; what is held restricts nobody, under the alert SekimoriBrake"
    assert said in " ".join(done.stdout.split())
    assert "No decision differs." in rows
    page = (gone_wild / "page.html").read_text()
    assert "the brake would hold" in page
    assert said in page
    free = sekimori(gone_wild, "backtest", "wave.log", "--rules", "free.toml", *more)
    assert "brake" not in free.stdout + (gone_wild / "page.html").read_text()


def test_what_would_be_held_before_the_time_that_is_reported_is_not_told(gone_wild: Path) -> None:
    more = ("--rules", "rules.toml", "--json", "--from")
    (first,) = json.loads(sekimori(gone_wild, "backtest", "wave.log", *more, "2026-11-24").stdout)["new"]["would_hold"][
        "rules"
    ]
    half = f"{WAVE:%Y-%m-%dT%H}:01:30"
    (later,) = json.loads(sekimori(gone_wild, "backtest", "wave.log", *more, half).stdout)["new"]["would_hold"]["rules"]
    assert later["decisions"] == CUSTOMERS // 2 < first["decisions"]
    assert later["first"].startswith(half)


def test_a_load_says_what_the_brake_would_hold(gone_wild: Path) -> None:
    done = sekimori(gone_wild, "load", "wave.log", "--rules", "rules.toml", "--into", "stored")
    held = CUSTOMERS - 12
    assert f"the brake would have held {held} decisions (on 4 partitions, each for itself)" in done.stderr
    stored = sekimori(gone_wild, "backtest", "--stored", "stored", "--rules", "rules.toml", "--json").stdout
    assert [of["decisions"] for of in json.loads(stored)["new"]["would_hold"]["rules"]] == [held]
    with ChdbStore(gone_wild / "stored") as store:
        found = store.query("SELECT mode, count() AS n FROM decisions GROUP BY mode")
    assert found.to_dict("records") == [{"mode": "enforce", "n": CUSTOMERS}]
