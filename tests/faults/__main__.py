"""``make faults N=1000``: rounds of faults until there have been so many; what was found adds up in a file, so that a
campaign can be broken off and gone on with. The table is kept in bench/FAULTS.md."""

import argparse
import json
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.campaign import FAULTS, Round
from tests.support.paths import ROOT

EACH = 40  # faults of a round
TABLE = ROOT / "bench" / "FAULTS.md"


def main() -> None:
    """Exits with 1 if anything was wrong. SIGTERM ends it as Ctrl-C does: the round's servers and jobs are stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=40, help="in all, with those that the file has already")
    parser.add_argument("--results", type=Path, default=ROOT / "var" / "faults.json")
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    given = parser.parse_args()
    rounds = json.loads(given.results.read_text()) if given.results.exists() else []
    given.results.parent.mkdir(parents=True, exist_ok=True)
    while (done := sum(sum(one["faults"].values()) for one in rounds)) < given.faults:
        seed, began = given.seed + len(rounds), time.monotonic()
        with tempfile.TemporaryDirectory(prefix="sekimori-faults-", ignore_cleanup_errors=True) as folder:
            one = Round(Path(folder), seed, min(EACH, given.faults - done))
            verdict = one.run()
            if not verdict.settled:
                _keep_logs(Path(folder), given.results.with_suffix(f".{seed}"))
        rounds.append(
            {
                "seed": seed,
                "seconds": round(time.monotonic() - began),
                "faults": dict(one.faults),
                "ended": one.ended,
                "lines": verdict.lines,
                "decisions": verdict.decisions,
                "wrong": verdict.wrong,
            }
        )
        given.results.write_text(json.dumps(rounds, indent=1))
        print(table(rounds), flush=True)
    TABLE.write_text(table(rounds))
    raise SystemExit(any(any(one["wrong"].values()) for one in rounds))


def table(rounds: list[dict[str, object]]) -> str:
    """What was done, and what was wrong."""
    faults: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for one in rounds:
        faults.update(one["faults"])  # type: ignore[arg-type]
        wrong.update(one["wrong"])  # type: ignore[arg-type]
        sums.update({name: one[name] for name in ("ended", "lines", "decisions", "seconds")})  # type: ignore[misc]
    rows = [f"| {kind} | {faults[kind]} |" for kind, _ in FAULTS]
    rows += [f"| **faults** | **{faults.total()}** |", f"| lines | {sums['lines']:,} |"]
    rows += [f"| decisions | {sums['decisions']:,} |", f"| minutes | {sums['seconds'] / 60:.0f} |"]
    rows += [f"| **{what}** | **{wrong[what]}** |" for what in wrong]
    head = "# Faults\n\nOn Apache Kafka; `make faults N=1000` adds to it. Each round has its own cluster.\n\n"
    return f"{head}| what | how many |\n|---|---|\n" + "\n".join(rows) + "\n"


def _keep_logs(folder: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        (into / log.name).write_bytes(log.read_bytes())


if __name__ == "__main__":
    main()
