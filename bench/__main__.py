"""Runs every benchmark, prints the table, and keeps it in ``bench/RESULT.md`` with the machine it ran on."""

import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench import agent, backtest, cluster, policy, replay, store

LINES = 1_000_000
STORED = 10_000_000
LATE = ("a host late by 0 s", "a host late by 30 min")
DAY = "a whole day"
RESULT = Path(__file__).parent / "RESULT.md"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "mail.log"
        generator = Path(__file__).parent / "gen_maillog.py"
        subprocess.run([sys.executable, str(generator), "-n", str(LINES), "-o", str(log)], check=True)
        rows: list[tuple[str, str, str]] = []

        def add(what: str, found: str, wanted: str = "") -> None:
            rows.append((what, found, wanted))
            print(f"{what:<58} {found:>14}  {wanted}", flush=True)

        speed = replay.speed(log)
        add("floor: plain Python, finds and counts only", f"{speed['floor lines/s']:,.0f} /s")
        add("replay, everything on", f"{speed['replay lines/s']:,.0f} /s", "300,000 /s")
        add("floor / replay", f"{speed['floor / replay']:.1f}", "5.0")
        for stage, share in replay.shares(log).items():
            add(f"  of that, {stage}", f"{share:.0%}")
        for program, (share, took) in sorted(replay.programs(log).items(), key=lambda item: -item[1][0]):
            part = "" if program == "unknown" else f"{share:.0%} of reading, "
            add(f"  lines of {program}", f"{part}{took:.2f} µs")
        shapes = replay.realistic(Path(folder))
        for shape, (lines, expressions, _) in shapes.items():
            add(f"replay of {shape}", f"{lines:,.0f} /s of CPU", "100,000 /s")
            add("  / a reader of regular expressions, two filters", f"{lines / expressions:.2f}", "1.00")
        add("  a line, late by 30 min / by 0 s", f"{shapes[LATE[0]][0] / shapes[LATE[1]][0]:.2f}", "1.00")
        add("  a line, at the end of a day / at its beginning", f"{shapes[DAY][2]:.2f}", "1.00")
        for what, value in replay.scaling().items():
            if what.startswith("bytes"):
                add(what, f"{value:.0f}", "500")
            else:
                add(what, f"{value:.2f}", "0.70")
        for what, ratio in backtest.run(log).items():
            add(
                f"{what} / replay",
                f"{ratio:.2f}",
                "0.60" if what == "load" else "1.00" if "one rule set" in what else "",
            )
        for what, value in cluster.run(log).items():
            add(f"{what}, one worker, through the broker", f"{value:,.0f} /s")
            add("  / replay", f"{value / speed['replay lines/s']:.2f}", "0.50")
        found = policy.run()
        add("policy server, a million decisions", f"{found['requests_per_s']:,.0f} /s", "20,000 /s")
        add("  p99", f"{found['p99_ms']:.1f} ms", "5 ms")
        add("  memory of a decision", f"{found['bytes_per_decision']:.0f} bytes")
        told = agent.measure()
        add("agent: its port is open after", f"{told['port']:.1f} s")
        add("  a million decisions loaded from a snapshot", f"{told['loaded']:.1f} s", "2 s")
        add("  of that, work", f"{told['loaded, CPU']:.1f} s")
        for what in ("idle", "loading", "reading", "telling all"):
            wanted = "" if what == "idle" else "5 ms"
            add(f"  p99 of answers, {what}", f"{told[f'p99 {what}']:.1f} ms", wanted)
            add("    its work meanwhile", f"{told[f'p99 {what}, CPU']:.1f} ms")
        add("  read from Kafka", f"{told['read/s']:,.0f} /s")
        add("  decisions list of one account, a million in force", f"{told['list of an account']:.2f} s", "1 s")
        add("    of that, work", f"{told['list of an account, CPU']:.2f} s")
        stored = store.run(log, STORED)
        for engine, rate in (("chdb", "200,000 /s"), ("server", "100,000 /s")):
            add(f"stored: {STORED:,} events into {engine}", f"{stored[f'{engine}: events/s']:,.0f} /s", rate)
            slowest = max(
                (value, what) for what, value in stored.items() if what.startswith(engine) and "events/s" not in what
            )
            add(
                f"  slowest query there ({slowest[1].split(': ')[1].removesuffix(', s')})", f"{slowest[0]:.1f} s", "2 s"
            )
    _keep(rows)


def _keep(rows: list[tuple[str, str, str]]) -> None:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    lines = [
        "# Last result of `make bench`",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {cpu}, Python {platform.python_version()}, {platform.system()}.",
        "Absolute figures drift with the machine; ratios hold.",
        "",
        "| what | measured | wanted |",
        "| --- | ---: | ---: |",
        *(f"| {what.replace('  ', '&nbsp;&nbsp;')} | {found} | {wanted} |" for what, found, wanted in rows),
        "",
    ]
    RESULT.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
