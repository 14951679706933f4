"""``load``, and backtests in one process, against replay, in one run: over a log file, and over its events in a folder.

``python -m bench.backtest LOG``: LOG is what ``bench/gen_maillog.py`` wrote.
"""

import subprocess
import sys
import tempfile
import time
from datetime import UTC
from pathlib import Path

from pipeline.adapters.files.logfile import named_frames
from pipeline.adapters.trials.backtest import run_backtest
from pipeline.adapters.trials.suggest import observe
from pipeline.replay import Replay
from pipeline.rules import build
from pipeline.rules.config import load
from pipeline.trials.plan import Logs, Plan, StoredEvents

JOBS = 1
ROUNDS = 3


def _seconds_of_replay(log: Path) -> float:
    started, flow = time.perf_counter(), Replay(build(load(None), "JP"))
    for _ in flow.run(named_frames([log])):
        pass
    return time.perf_counter() - started


def _seconds_of(plan: Plan, watching: bool = False) -> float:
    started = time.perf_counter()
    if watching:
        observe(plan, UTC, None, JOBS, lambda what, part: None)
    else:
        run_backtest(plan, (), JOBS, lambda what, part: None)
    return time.perf_counter() - started


def _seconds_of_load(log: Path, folder: Path) -> float:
    command = [sys.executable, "-m", "pipeline.cli", "load", str(log), "--into", str(folder)]
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def run(log: Path) -> dict[str, float]:
    """Speed of each, replay being 1: the time of replay divided by its own, the median of interleaved rounds.

    ``load`` is the command, which has two processes. ``suggest`` watches the limits of all rules."""
    rules, found = load(None), dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as name:
        for number in range(ROUNDS):
            folder = Path(name) / str(number)
            logs, stored = Logs((log,), UTC), StoredEvents(str(folder))
            replay = _seconds_of_replay(log)
            for what, seconds in (
                ("load", _seconds_of_load(log, folder)),
                ("backtest of a log, one rule set", _seconds_of(Plan(logs, (rules,), "JP"))),
                ("backtest of a log, two rule sets", _seconds_of(Plan(logs, (rules, rules), "JP"))),
                ("backtest of stored events, one rule set", _seconds_of(Plan(stored, (rules,), "JP"))),
                ("backtest of stored events, two rule sets", _seconds_of(Plan(stored, (rules, rules), "JP"))),
                ("suggest from stored events", _seconds_of(Plan(stored, (rules,), "JP"), watching=True)),
            ):
                found.setdefault(what, []).append(replay / seconds)
    return {what: sorted(ratios)[ROUNDS // 2] for what, ratios in found.items()}


def main() -> None:
    for what, value in run(Path(sys.argv[1])).items():
        print(f"{what:<50} {value:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
