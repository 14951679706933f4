"""Backtests in one process against replay, in one run: over a log file, and over the same events stored in a folder.

``python -m bench.backtest LOG``: LOG is what ``bench/gen_maillog.py`` wrote.
"""

import sys
import tempfile
import time
from datetime import UTC
from pathlib import Path

from pipeline.adapters.backtests import run as backtest
from pipeline.adapters.chdb_store import ChdbStore
from pipeline.adapters.logfile import frames
from pipeline.adapters.suggestions import habits
from pipeline.adapters.tallied import Logs, Plan, Stored
from pipeline.enrich import no_country
from pipeline.flow import Replay
from pipeline.rules import build
from pipeline.rules.config import load
from pipeline.storage.loading import Loader
from pipeline.storage.storing import Sink, apply_ddl

JOBS = 1


def _seconds_of_replay(log: Path) -> float:
    started, flow = time.perf_counter(), Replay(build(load(None), "JP"))
    for frame in frames(log):
        for _ in flow.feed(frame.content, frame.reference, frame.source):
            pass
    return time.perf_counter() - started


def _seconds_of(plan: Plan, watching: bool = False) -> float:
    started = time.perf_counter()
    if watching:
        habits(plan, UTC, None, JOBS, lambda what, part: None)
    else:
        backtest(plan, (), JOBS, lambda what, part: None)
    return time.perf_counter() - started


def _store(log: Path, folder: Path) -> None:
    with ChdbStore(folder) as store:
        apply_ddl(store)
        loader, sink = Loader(build(load(None), "JP"), UTC, no_country), Sink(store)
        for frame in frames(log):
            loader.feed(frame.content, frame.reference, "log", sink)
        sink.flush()


def run(log: Path) -> dict[str, float]:
    """Speed of each, replay being 1: the time of replay divided by its own. One and two rule sets; ``suggest`` watches
    the limits of all rules."""
    rules = load(None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "folder"
        _store(log, folder)
        logs, stored = Logs((log,), UTC), Stored(str(folder))
        replay = _seconds_of_replay(log)
        return {
            "backtest of a log, one rule set": replay / _seconds_of(Plan(logs, (rules,), "JP")),
            "backtest of a log, two rule sets": replay / _seconds_of(Plan(logs, (rules, rules), "JP")),
            "backtest of stored events, one rule set": replay / _seconds_of(Plan(stored, (rules,), "JP")),
            "backtest of stored events, two rule sets": replay / _seconds_of(Plan(stored, (rules, rules), "JP")),
            "suggest from stored events": replay / _seconds_of(Plan(stored, (rules,), "JP"), watching=True),
        }


def main() -> None:
    for what, value in run(Path(sys.argv[1])).items():
        print(f"{what:<50} {value:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
