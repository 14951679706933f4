"""``sekimori load``: what is in the folder is what the flow made, however often and in what pieces it was loaded."""

import gzip
import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.stores.chdb_store import ChdbStore
from pipeline.normalize.normalizer import Normalizer
from pipeline.rules.config import load
from pipeline.storage.rows import decision_columns
from tests.support.cluster import RECORDED
from tests.support.lines import frame, sent
from tests.support.servers import sekimori
from tests.support.truth import replay_files

MAIL, DOVECOT, GEO = RECORDED / "mail.log", RECORDED / "dovecot.log", RECORDED / "geo.mmdb"
LINES = sum(len(path.read_bytes().splitlines()) for path in (MAIL, DOVECOT))


def run_load(folder: Path, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = sekimori("load", "--into", folder, "--geoip", GEO, *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def dump(folder: Path) -> dict[str, pd.DataFrame]:
    """Everything that is stored, without where it was read and what merges away."""
    tables = {
        "events": "SELECT * FROM events ORDER BY source, frame, record",
        "rates": "SELECT * FROM rates_per_minute ORDER BY source, frame, minute, account, ip, channel, country",
        "decisions": "SELECT * FROM decisions FINAL ORDER BY id",
        "dead_letters": "SELECT * FROM dead_letters FINAL ORDER BY source, frame, record",
    }
    with ChdbStore(folder) as store:
        return {name: store.query(sql) for name, sql in tables.items()}


def assert_same(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> None:
    for name, table in one.items():
        pd.testing.assert_frame_equal(table, other[name], obj=name)


def test_the_folder_holds_what_the_flow_makes(tmp_path: Path) -> None:
    run = run_load(tmp_path / "db", MAIL, DOVECOT)
    assert run.returncode == 0, run.stderr
    stored = dump(tmp_path / "db")
    normalizer = Normalizer(load(None).trusted, lookup=GeoFile(GEO))
    events = normalizer.normalize(MAIL.read_bytes(), os.stat(MAIL).st_mtime, "x", 0).events
    of_mail = stored["events"][stored["events"]["host"] != ""]
    assert len(stored["events"]) == LINES == stored["rates"]["events"].sum()
    assert of_mail["queue_id"].tolist() == [e.queue_id or "" for e in events]
    assert of_mail["country"].tolist() == [e.country or "" for e in events]
    assert (tmp_path / "db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("kind", ["", ".stretched"])
@pytest.mark.parametrize("order", [1, -1])
def test_decisions_are_those_of_replay(tmp_path: Path, kind: str, order: int) -> None:
    files = [RECORDED / f"mail{kind}.log", RECORDED / f"dovecot{kind}.log"]
    run = run_load(tmp_path / "db", *files[::order])
    assert run.returncode == 0, run.stderr
    stored = dump(tmp_path / "db")["decisions"]
    for name in ("issued_at", "expires_at"):
        stored[name] = stored[name].astype("int64")
    replayed = decision_columns(sorted(replay_files(files, GEO), key=lambda decision: decision.id))
    assert stored.to_dict("list") == {name: replayed[name] for name in stored}
    assert f"{len(stored)} decisions" in run.stderr + run.stdout


def test_lines_of_two_files_count_once(tmp_path: Path) -> None:
    syslog = tmp_path / "syslog"
    syslog.write_bytes(b"a line of another program\n" + MAIL.read_bytes() + DOVECOT.read_bytes())
    changed = os.stat(MAIL).st_mtime
    os.utime(syslog, (changed, changed))
    run = run_load(tmp_path / "twice", syslog, MAIL, DOVECOT)
    assert run.returncode == 0, run.stderr
    assert "lines are in several of these files, and were counted once" in run.stderr
    run_load(tmp_path / "once", MAIL, DOVECOT)
    twice, once = dump(tmp_path / "twice"), dump(tmp_path / "once")
    assert len(twice["events"]) == 2 * len(once["events"]), "all that was read is there"
    for kind in ("submission", "auth_failure", "auth_success", "reject"):
        found = [(stored["events"]["kind"] == kind).sum() for stored in (twice, once)]
        assert found[0] == found[1], kind
    counted = [column for column in once["rates"].columns if column in ("messages", "recipients", "failed", "errors")]
    assert counted
    assert twice["rates"][counted].sum().to_dict() == once["rates"][counted].sum().to_dict()
    subjects = [
        set(zip(stored["decisions"]["rule"], stored["decisions"]["subject"], strict=True)) for stored in (twice, once)
    ]
    assert subjects[0] == subjects[1]


def test_loading_again_changes_nothing(tmp_path: Path) -> None:
    run_load(tmp_path / "db", MAIL, DOVECOT)
    before = dump(tmp_path / "db")
    packed = tmp_path / "renamed.gz"
    packed.write_bytes(gzip.compress(MAIL.read_bytes()))
    again = run_load(tmp_path / "db", packed, DOVECOT)
    assert again.returncode == 0
    assert again.stderr.count("is there already") == 2
    assert_same(before, dump(tmp_path / "db"))


def test_of_a_file_that_has_grown_only_what_is_new_is_added(tmp_path: Path) -> None:
    log, lines = tmp_path / "mail.log", MAIL.read_bytes().splitlines(keepends=True)
    changed = os.stat(MAIL).st_mtime
    for count in (10, 2500, 2501, len(lines)):
        log.write_bytes(b"".join(lines[:count]))
        os.utime(log, (changed, changed))
        run = run_load(tmp_path / "db", log)
        assert run.returncode == 0, run.stderr
    run_load(tmp_path / "at-once", MAIL)
    assert_same(dump(tmp_path / "at-once"), dump(tmp_path / "db"))


def test_a_load_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen(sekimori("load", "--into", tmp_path / "db", "--geoip", GEO, MAIL)) as process:
        while not (tmp_path / "db" / "data").exists() and process.poll() is None:
            os.sched_yield()
        process.kill()
    run_load(tmp_path / "db", MAIL)
    run_load(tmp_path / "whole", MAIL)
    assert_same(dump(tmp_path / "whole"), dump(tmp_path / "db"))


def test_a_log_of_many_years_is_loaded(tmp_path: Path) -> None:
    line = "{}-{:02d}-03T01:02:03+00:00 mx1 postfix/smtpd[7]: connect from c.example[198.51.100.7]\n"
    log = tmp_path / "old.log"
    log.write_text("".join(line.format(year, month) for year in range(1975, 2025) for month in (7, 1)) * 2)
    run = run_load(tmp_path / "db", log)
    assert run.returncode == 0, run.stderr
    stored = dump(tmp_path / "db")
    assert stored["events"]["time"].dt.year.value_counts().to_dict() == dict.fromkeys(range(1975, 2025), 4)
    assert stored["rates"]["events"].sum() == 200


def test_what_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(MAIL.read_bytes())[:5000])
    longer = tmp_path / "longer.log"
    longer.write_bytes(MAIL.read_bytes() + b"\n")
    for arguments, said in (
        ((cut,), "end-of-stream"),
        ((MAIL, longer), "begin alike"),
        ((MAIL, "--zone", "Mars"), "no IANA zone"),
    ):
        run = run_load(tmp_path / "db", *arguments)
        assert run.returncode != 0
        assert said in run.stderr
        assert "Traceback" not in run.stderr


def test_a_file_of_which_nothing_is_understood_is_told_and_may_be_loaded_again(tmp_path: Path) -> None:
    odd, well = tmp_path / "odd.log", tmp_path / "well.log"
    odd.write_bytes(b"24.11. 1:50 mx postfix/smtpd[1]: connect from unknown[192.0.2.7]\n" * 3)
    well.write_bytes(frame(sent(5)))
    for _ in range(2):
        done = run_load(tmp_path / "store", odd, well)
        assert done.returncode == 1
        assert "3 lines look like mail log and were not understood" in done.stderr
        assert "odd.log: no line of it is understood" in done.stderr
        assert "odd.log: is there already" not in done.stderr
    assert "well.log: is there already" in done.stderr
