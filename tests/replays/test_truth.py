"""The rules that we ship, on recorded logs of real servers of which it is known who did what."""

import gzip
import json
from functools import cache
from pathlib import Path

import pytest

from pipeline.adapters.geoip import GeoFile
from pipeline.replay import LogFrame, Replay
from pipeline.rules import build
from pipeline.rules.config import load
from schemas.enforcement import Decision
from tests.support.paths import RECORDED
from tests.support.truth import judge, leaked, replay_files

TRUTH = json.loads((RECORDED / "truth.json").read_text(encoding="utf-8"))
RUNS = {"as recorded": ("mail.log", "dovecot.log"), "in hours": ("mail.stretched.log", "dovecot.stretched.log")}
REFERENCE = 1_796_083_200.0  # 2026-12-01
MOST_LEAKED = 40
STRETCHED_FROM = TRUTH["run_start_epoch"]

MAIN_CASES = {
    ("account", "victim01@testbed.example"): "account_many_origins",
    ("account", "takeover01@testbed.example"): "success_after_failures",
    ("account", "web01@testbed.example"): "account_send_rate",
    ("account", "spoof01@testbed.example"): "foreign_senders",
    ("account", "spoof02@testbed.example"): "foreign_senders",
}


@cache
def decisions(run: str) -> tuple[Decision, ...]:
    return tuple(replay_files([RECORDED / name for name in RUNS[run]], RECORDED / "geo.mmdb"))


@pytest.mark.parametrize("run", RUNS)
def test_nobody_is_missed_and_nobody_hurt(run: str) -> None:
    report = judge(TRUTH, list(decisions(run)))
    assert report.missed_accounts == []
    assert report.missed_addresses == []
    assert report.hurt_accounts == []
    assert report.hurt_addresses == []


@pytest.mark.parametrize("run", RUNS)
def test_the_main_cases_are_found_by_the_rule_that_is_meant_for_them(run: str) -> None:
    first = {(d.subject_kind, d.subject): d.rule for d in reversed(decisions(run)) if d.scope == "send"}
    assert {case: first[case] for case in MAIN_CASES} == MAIN_CASES


@pytest.mark.parametrize("run", RUNS)
def test_attacked_accounts_are_only_delayed_and_their_attackers_locked_out(run: str) -> None:
    targets = {a for a, known in TRUTH["accounts"].items() if known["label"] == "targeted"}
    about = [d for d in decisions(run) if d.subject in targets]
    assert {d.action for d in about} == {"delay_login"}
    assert {d.scope for d in about} == {"login"}
    attackers = {a for a, known in TRUTH["ips"].items() if known["kind"] in ("bruteforce", "reverse-bruteforce")}
    locked = {d.subject for d in decisions(run) if d.action == "deny_login" and d.scope == "both"}
    assert attackers <= locked


@pytest.mark.parametrize("run", RUNS)
def test_few_messages_leave_before_the_decision(run: str, tmp_path: Path) -> None:
    counts = leaked(events_file(tmp_path), list(decisions(run)), STRETCHED_FROM, 40.0 if run == "in hours" else 1.0)
    assert set(counts) == {f"{name}@testbed.example" for name in ("victim01", "takeover01", "web01", "spoof01")}
    assert max(counts.values()) <= MOST_LEAKED


def events_file(folder: Path) -> Path:
    """Who did what and when, in whole seconds, as in the log."""
    events = [json.loads(line) for line in gzip.decompress((RECORDED / "events.jsonl.gz").read_bytes()).splitlines()]
    path = folder / "events.jsonl"
    path.write_text("\n".join(json.dumps(event | {"t": int(event["t"])}) for event in events), encoding="utf-8")
    return path


@cache
def one_file(size: int) -> tuple[Decision, ...]:
    """Both logs as one, in frames of so many lines."""
    lines = [line for name in RUNS["as recorded"] for line in (RECORDED / name).read_bytes().splitlines()]
    lines.sort(key=lambda line: line[:15])
    frames = [b"\n".join(lines[at : at + size]) for at in range(0, len(lines), size)]
    flow = Replay(build(load(None), "JP"), lookup=GeoFile(RECORDED / "geo.mmdb"))
    return tuple(d for frame in frames for d in flow.feed(LogFrame("mx", frame, REFERENCE))[1])


@pytest.mark.parametrize("size", [7, 200])
def test_decisions_do_not_depend_on_how_lines_were_framed(size: int) -> None:
    def essence(found: tuple[Decision, ...]) -> set[tuple[str, str, str]]:
        return {(d.key, d.action, d.id) for d in found}

    assert essence(one_file(size)) == essence(one_file(1))


def test_the_same_subjects_are_found_when_all_comes_at_once() -> None:
    assert {(d.key, d.action) for d in one_file(1_000_000)} == {(d.key, d.action) for d in one_file(1)}
