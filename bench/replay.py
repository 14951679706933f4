"""The whole flow in memory against the floor, in one run; where the time goes; realistic logs; memory and speed by
accounts."""

import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bench import regexes
from bench.baseline import count
from bench.realistic import SHAPES, country_of, write
from pipeline.adapters.files.logfile import frames, named_frames
from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import Detector
from pipeline.formats.reading.lines import LineReader, split_frame
from pipeline.normalize.normalizer import COUNTED, Normalizer
from pipeline.replay import Replay
from pipeline.rules import build
from pipeline.rules.config import load
from schemas.event import Event
from schemas.tally import Tally

ROUNDS = 3
REFERENCE = 1795500000.0  # seconds since 1970, a few hours after the generated log begins
STAGES = ("split", "read", "join", "enrich", "tally", "detect")


def speed(path: Path) -> dict[str, float]:
    """Lines a second of replay and of the floor, the medians of interleaved rounds, and their ratio."""
    replays, floors = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        lines, _ = count(path)
        floors.append(lines / (time.perf_counter() - started))
        replay = Replay(build(load(None), "JP"))
        started = time.perf_counter()
        for _ in replay.run(named_frames([path])):
            pass
        replays.append(replay.counts.lines / (time.perf_counter() - started))
        del replay
        gc.collect()
    ratios = sorted(f / r for f, r in zip(floors, replays, strict=True))
    middle = ROUNDS // 2
    return {
        "replay lines/s": sorted(replays)[middle],
        "floor lines/s": sorted(floors)[middle],
        "floor / replay": ratios[middle],
    }


def realistic(folder: Path, lines: int = 100_000) -> dict[str, tuple[float, float, float]]:
    """Of each shape of a log: lines a second of CPU, the same of a reader of regular expressions on the same file, and
    what a line near the end costs by one near the beginning."""
    found = {}
    for shape in SHAPES:
        path = write(folder / "realistic.log", shape, lines)
        started = time.process_time()
        regexes.count(path)
        expressions = time.process_time() - started
        replay = Replay(build(load(None), "JP"), lookup=country_of)
        marks, done = [time.process_time()], [0]
        for _ in replay.run(named_frames([path])):
            marks.append(time.process_time())
            done.append(replay.counts.lines)
        fifth = len(marks) // 5
        begun, ended = ((marks[b] - marks[a]) / (done[b] - done[a]) for a, b in ((fifth, 2 * fifth), (-1 - fifth, -1)))
        found[shape] = lines / (marks[-1] - marks[0]), lines / expressions, ended / begun
        del replay
        gc.collect()
    return found


def shares(path: Path) -> dict[str, float]:
    """Part of the time that each stage takes, 0 to 1."""
    rules = build(load(None), "JP")
    normalizer, detector = Normalizer(rules.file.trusted), Detector(rules, Allowlist(rules.file.allow))
    spent = dict.fromkeys(STAGES, 0.0)
    for position, frame in enumerate(frames(path)):
        marks = [time.perf_counter()]
        lines = split_frame(frame.content)
        marks.append(time.perf_counter())
        outcomes = normalizer.reader.read_lines(lines, frame.reference)
        marks.append(time.perf_counter())
        events = [e for e in outcomes if isinstance(e, Event)]
        normalizer.joiner.join(events)
        marks.append(time.perf_counter())
        counted = [pair for pair in zip(events, lines, strict=False) if pair[0].kind in COUNTED]
        normalizer.enricher.enrich(counted)
        marks.append(time.perf_counter())
        tallies = normalizer.tallier.tally(counted)
        marks.append(time.perf_counter())
        findings = detector.count(tallies, 2 * position)
        if findings.accusations:
            detector.count(findings.accusations, 2 * position + 1)
        marks.append(time.perf_counter())
        for stage, before, after in zip(STAGES, marks, marks[1:], strict=False):
            spent[stage] += after - before
    total = sum(spent.values())
    return {stage: seconds / total for stage, seconds in spent.items()}


def programs(path: Path, lines: int = 200_000) -> dict[str, tuple[float, float]]:
    """Each program's lines: their part of the reading time (0 to 1), and microseconds a line. A program that no format
    knows is put beside them."""
    reader, groups = LineReader(), dict[str, list[str]]()
    with path.open(encoding="utf-8") as file:
        for line in islice(file, lines):
            event = reader.read(line.rstrip("\n"), REFERENCE)
            if isinstance(event, Event):
                groups.setdefault(event.program, []).append(line.rstrip("\n"))
    unknown = [
        f"Nov 24 00:00:{n % 60:02d} mx1 crond[{n}]: (root) CMD (run-parts /etc/cron.hourly)" for n in range(20_000)
    ]
    spent = {}
    for program, group in [*groups.items(), ("unknown", unknown)]:
        fresh = LineReader()
        started = time.perf_counter()
        fresh.read_lines(group, REFERENCE)
        spent[program] = (time.perf_counter() - started, len(group))
    total = sum(seconds for program, (seconds, _) in spent.items() if program != "unknown")
    return {program: (seconds / total, seconds / number * 1e6) for program, (seconds, number) in spent.items()}


def resident() -> int:
    """Bytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _typical(accounts: int, tallies: int) -> Iterator[Tally]:
    """Six hours of accounts that send four messages each, from two networks in turn, in the order of time."""
    for n in range(tallies):
        account, turn = n % accounts, n // accounts
        source = (
            f"198.{18 + account % 2}.{account >> 8 & 255}.{account & 255}"
            if turn % 4
            else f"203.0.{turn}.{account & 255}"
        )
        at = 1795485043.0 + turn * 5400 + account * 5400 / accounts
        yield Tally("account", f"user{account:07d}@mail.example.org", source, "JP", at, 1, 2, 0, 0, 0, 0, 1)


def memory(accounts: int) -> dict[str, float]:
    """Bytes for each account with typical activity, and tallies a second; to be run in a process of its own."""
    rules = build(load(None), "JP")
    detector = Detector(rules, Allowlist(rules.file.allow), limit=8_000_000)
    total = max(4 * accounts, 400_000)
    gc.collect()
    before, spent, done = resident(), 0.0, 0
    stream = _typical(accounts, total)
    position = 0
    while batch := [t for _, t in zip(range(2000), stream, strict=False)]:
        position += 1
        started = time.perf_counter()
        detector.count(batch, position)
        spent += time.perf_counter() - started
        done += len(batch)
        if done == 4 * accounts:
            del batch
            gc.collect()
            held = resident() - before
    return {"bytes/account": held / accounts, "tallies/s": done / spent}


def scaling() -> dict[str, float]:
    """A million accounts against ten thousand, each in a process of its own."""
    found = {}
    for accounts in (10_000, 1_000_000):
        code = f"from bench.replay import memory; print(*memory({accounts}).values())"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found[accounts] = [float(word) for word in run.stdout.split()]
    return {
        "bytes for each of a million accounts": found[1_000_000][0],
        "speed at a million accounts / at ten thousand": found[1_000_000][1] / found[10_000][1],
    }
