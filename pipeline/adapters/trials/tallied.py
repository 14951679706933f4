"""Logs or stored events -> tallies on disk, split by partition, to be counted as often as it takes: what backtests and
suggestions begin with.

It is done in worker processes, a file or a slice of the store at a time. The tallies lie in a folder of their own under
the system's temporary folder (``TMPDIR``), about 15 % of the size of the logs; it is removed in the end.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import TypeVar

import pandas as pd

from pipeline.adapters.files.logfile import FRAME, frames
from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.stores.opening import open_store
from pipeline.adapters.trials.spool import SpoolWriter, spooled
from pipeline.adapters.trials.workers import Workers, tick
from pipeline.normalize.enrich import no_country
from pipeline.normalize.normalizer import Normalizer
from pipeline.ports import StoreError
from pipeline.replay import first_time
from pipeline.rules import RuleSet, build
from pipeline.rules.config import RulesFile
from pipeline.storage.events import Slice, frames_of, rows_of, slices
from pipeline.trials.backtest import TallyFrame, interleave, split
from pipeline.windows.layout import KNOWN, SLOT
from schemas.tally import Tally

Task = TypeVar("Task")
Result = TypeVar("Result")

PARTITIONS = 16  # whatever the number of workers, so that it never changes what comes out
MEMORY = KNOWN * SLOT  # seconds that windows remember: so much of what is stored before the start is counted

Progress = Callable[[str, float], None]
"""(what is done now, part of it that is done)"""


@dataclass(frozen=True)
class Logs:
    """Log files. ``zone``: of lines without one; ``geoip``: a MaxMind DB file."""

    files: tuple[Path, ...]
    zone: tzinfo
    geoip: Path | None = None


@dataclass(frozen=True)
class Stored:
    """Events of a folder that ``sekimori load`` made, or of a ClickHouse server: with the countries, and joined by the
    trusted webmail hosts, of the time when they were stored."""

    place: str


@dataclass(frozen=True)
class Plan:
    """What is to be counted, under which rules. ``start``, ``stop``: event times, seconds since 1970.

    What comes before ``start`` is counted, so that windows and known networks are as they were (of stored events the 30
    days before, which is all that windows remember), but not reported; what comes at ``stop`` or later is left out.
    """

    origin: Logs | Stored
    rules: tuple[RulesFile, ...]
    home: str
    start: float = -inf
    stop: float = inf

    def built(self) -> list[RuleSet]:
        """The rule sets. They have been checked before, so that no RulesError is to be expected."""
        return [build(file, self.home) for file in self.rules]

    def sharing(self, variant: int) -> list[int]:
        """The rule sets that trust the same hosts as one of them does, and so share its tallies."""
        return [n for n, file in enumerate(self.rules) if file.trusted == self.rules[variant].trusted]

    @property
    def variants(self) -> list[int]:
        """The first rule set of each group that shares its tallies."""
        return sorted({self.sharing(number)[0] for number in range(len(self.rules))})

    @property
    def pieces(self) -> list["Piece"]:
        """All of them."""
        return [(variant, partition) for variant in self.variants for partition in range(PARTITIONS)]


Piece = tuple[int, int]
"""(first of the rule sets that share tallies, partition)"""


@dataclass(frozen=True)
class Reading:
    """Of a file, or a slice of the store, whose lines are events. ``times``: of its frames, in order."""

    times: list[float]
    lines: int
    ignored: int = 0
    unreadable: int = 0


@dataclass(frozen=True)
class Spool:
    """Where the tallies are, and each reading's frames' places in the whole."""

    folder: Path
    numbers: list[list[int]]

    def frames(self, piece: Piece, accounts: bool) -> Iterator[TallyFrame]:
        """A piece's tallies, of accounts or of all else, in order. Raises OSError."""
        return spooled(self.folder, *piece, accounts, self.numbers)


@dataclass(frozen=True)
class Tallied:
    """Everything read, and the workers that read it, for whatever is to be done with each piece."""

    workers: Workers
    spool: Spool
    lines: int
    ignored: int
    unreadable: int
    progress: Progress

    def map(self, what: str, work: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
        """Results in the order of tasks; ``what`` is the name of it in the progress. Raises what ``work`` raises."""
        return self.workers.map(work, tasks, lambda done, _: self.progress(what, done / len(tasks)))


@contextmanager
def tallied(plan: Plan, jobs: int, progress: Progress) -> Iterator[Tallied]:
    """Reads all of it in ``jobs`` processes. Raises OSError, GeoFileError, WorkerLost; of a store
    StoreUnavailable, and StoreError, also if it holds nothing of that time."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sekimori-")))
        slots = len(plan.origin.files) if isinstance(plan.origin, Logs) else 0
        workers = stack.enter_context(Workers(jobs, slots))
        if isinstance(plan.origin, Logs):
            readings = _read_files(plan, plan.origin, folder, workers, progress)
        else:
            readings = _read_store(plan, plan.origin, folder, workers, progress)
        spool = Spool(folder, interleave([reading.times for reading in readings]))
        yield Tallied(
            workers,
            spool,
            sum(reading.lines for reading in readings),
            sum(reading.ignored for reading in readings),
            sum(reading.unreadable for reading in readings),
            progress,
        )


def _read_files(plan: Plan, logs: Logs, folder: Path, workers: Workers, progress: Progress) -> list[Reading]:
    sizes = sum(path.stat().st_size for path in logs.files) or 1
    read = partial(_read_file, plan, logs, folder)
    return workers.map(read, range(len(logs.files)), lambda _, at: progress("reading", sum(at) / sizes))


def _read_file(plan: Plan, logs: Logs, folder: Path, number: int) -> Reading:
    """In a worker. Spools the file's tallies."""
    lookup = GeoFile(logs.geoip) if logs.geoip else no_country
    normalizers = {v: Normalizer(plan.rules[v].trusted, logs.zone, lookup) for v in plan.variants}
    times: list[float] = []
    lines = ignored = unreadable = 0
    several = len(logs.files) > 1
    with _spooling(plan, folder, number) as write:
        for frame in frames(logs.files[number], FRAME >> 3 if several else FRAME):  # as replay reads them
            times.append(first_time(frame.content, frame.reference, logs.zone) if several else 0.0)
            for variant, normalizer in normalizers.items():
                batch = normalizer.normalize(frame.content, frame.reference, frame.source, len(times))
                write(variant, batch.tallies, len(times) - 1)
            lines, ignored = lines + batch.lines, ignored + batch.ignored
            unreadable += len(batch.dead_letters)
            tick(number, frame.compressed_position)
    return Reading(times, lines, ignored, unreadable)


def _read_store(plan: Plan, stored: Stored, folder: Path, workers: Workers, progress: Progress) -> list[Reading]:
    """The store is asked here (a folder can be open in one process only), its rows are counted in the workers."""
    with closing(open_store(stored.place)) as store:
        parts = slices(store, plan.start - MEMORY, plan.stop)
        if not parts:
            raise StoreError(f"{stored.place} holds no events of that time")
        tasks = ((number, part, rows_of(store, part)) for number, part in enumerate(parts))
        read = list(accumulate((part.events for part in parts), initial=0))
        work = partial(_read_rows, plan, folder)
        return workers.map(work, tasks, lambda done, _: progress("reading", read[done] / read[-1]))


def _read_rows(plan: Plan, folder: Path, task: tuple[int, Slice, pd.DataFrame]) -> Reading:
    """In a worker. Spools a slice's tallies."""
    number, part, rows = task
    normalizers = {v: Normalizer(plan.rules[v].trusted) for v in plan.variants}
    found = frames_of(rows)
    with _spooling(plan, folder, number) as write:
        for place, events in enumerate(found):
            for variant, normalizer in normalizers.items():
                write(variant, normalizer.retell(events), place)
    return Reading([float(part.since)] * len(found), len(rows))


@contextmanager
def _spooling(plan: Plan, folder: Path, number: int) -> Iterator[Callable[[int, Sequence[Tally], int], None]]:
    """What writes the tallies of a reading's frames: (first of the rule sets, tallies, place of the frame)."""
    with ExitStack() as stack:
        spools = {v: stack.enter_context(SpoolWriter(folder, v, number, PARTITIONS)) for v in plan.variants}

        def write(variant: int, tallies: Sequence[Tally], frame: int) -> None:
            if plan.stop < inf:
                tallies = [tally for tally in tallies if tally.at < plan.stop]
            spools[variant].write(split(tallies, frame, PARTITIONS))

        yield write
