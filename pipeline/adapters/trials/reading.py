"""Logs or stored events -> tallies on disk, split by partition, to be counted as often as it takes: what backtests and
suggestions begin with.

It is done in worker processes, a file or a slice of the store at a time. The tallies lie in a folder of their own under
the system's temporary folder (``TMPDIR``), about 15 % of the size of the logs; it is removed in the end.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import TypeVar

import pandas as pd

from pipeline.adapters.files.logfile import frames
from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.stores.address import shown_address
from pipeline.adapters.stores.opening import open_store
from pipeline.adapters.trials.spool import SpoolWriter, spooled
from pipeline.adapters.workers import Workers, tick
from pipeline.networks import no_country
from pipeline.normalize.normalizer import Normalizer
from pipeline.ports import RowStore, StoreError
from pipeline.replay import LineCounts, Normalizers
from pipeline.storage.events import Slice, frames_of, rows_of, slices, source_names
from pipeline.trials.backtest import TallyFrame, interleave, split
from pipeline.trials.plan import PARTITIONS, Logs, Plan, Portion, StoredEvents
from pipeline.windows.layout import KNOWN, SLOT
from schemas.tally import Tally

Task = TypeVar("Task")
Result = TypeVar("Result")

MEMORY = KNOWN * SLOT  # seconds that windows remember: so much of what is stored before the start is counted

Progress = Callable[[str, float], None]
"""(what is done now, part of it that is done)"""


@dataclass(frozen=True)
class SourceRead:
    """What was read of a file, or of a slice of the store, whose lines are events. ``name``: the file's base name;
    ``times``: the places in time of its frames, in order."""

    name: str
    times: list[int]
    counts: LineCounts


@dataclass(frozen=True)
class Spool:
    """Where the tallies are, and the place of each source's frames in the whole."""

    folder: Path
    numbers: list[list[int]]

    def frames(self, portion: Portion, accounts: bool) -> Iterator[TallyFrame]:
        """A portion's tallies, of accounts or of all else, in order. Raises OSError."""
        return spooled(self.folder, *portion, accounts, self.numbers)


@dataclass(frozen=True)
class AllRead:
    """Everything read, and the workers that read it, for whatever is to be done with each portion."""

    workers: Workers
    spool: Spool
    counts: LineCounts
    progress: Progress

    def map(self, what: str, work: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
        """Results in the order of tasks; ``what`` is the name of it in the progress. Raises what ``work`` raises."""
        return self.workers.map(work, tasks, lambda done, _: self.progress(what, done / len(tasks)))


@contextmanager
def all_read(plan: Plan, jobs: int, progress: Progress, store: RowStore | None = None) -> Iterator[AllRead]:
    """Reads all of it in ``jobs`` processes. ``store``: that of the stored events, if it is open already.

    Raises OSError, GeoFileError, WorkerLost; of a store StoreUnavailable, and StoreError, also if it holds nothing of
    that time.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sekimori-")))
        slots = len(plan.origin.files) if isinstance(plan.origin, Logs) else 0
        workers = stack.enter_context(Workers(jobs, slots, afresh=store is not None))
        if isinstance(plan.origin, Logs):
            sources = _read_files(plan, plan.origin, folder, workers, progress)
        else:
            sources = _read_store(plan, plan.origin, store, folder, workers, progress)
        counts = LineCounts()
        for source in sources:
            counts.add(source.counts)
        numbers = interleave([source.times for source in sources], [source.name for source in sources])
        yield AllRead(workers, Spool(folder, numbers), counts, progress)


def _read_files(plan: Plan, logs: Logs, folder: Path, workers: Workers, progress: Progress) -> list[SourceRead]:
    sizes = sum(path.stat().st_size for path in logs.files) or 1
    read = partial(_read_file, plan, logs, folder)
    return workers.map(read, range(len(logs.files)), lambda _, at: progress("reading", sum(at) / sizes))


def _read_file(plan: Plan, logs: Logs, folder: Path, number: int) -> SourceRead:
    """In a worker. Spools the file's tallies."""
    lookup = GeoFile(logs.geoip) if logs.geoip else no_country
    normalizers = {v: Normalizers(plan.rules[v].trusted, logs.zone, lookup, logs.zones) for v in plan.leaders}
    source = SourceRead(logs.files[number].name, [], LineCounts())
    with _spooling(plan, folder, number) as write:
        for frame in frames(logs.files[number]):
            normalized = {leader: normalizer.normalize(frame) for leader, normalizer in normalizers.items()}
            write({leader: of.batch.tallies for leader, of in normalized.items()}, len(source.times))
            first = normalized[plan.leaders[0]]  # they differ in joins and tallies only
            source.times.append(first.at)
            source.counts.add(first.counts)
            tick(number, frame.position)
    return source


def _read_store(
    plan: Plan, stored: StoredEvents, opened: RowStore | None, folder: Path, workers: Workers, progress: Progress
) -> list[SourceRead]:
    """The store is asked here (a folder can be open in one process only), its rows are counted in the workers."""
    with nullcontext(opened) if opened else closing(open_store(stored.place, stored.password_file, stored.ca)) as store:
        parts = slices(store, plan.start - MEMORY, plan.stop)
        if not parts:
            raise StoreError(f"{shown_address(stored.place)} holds no events of that time")
        tasks = ((number, part, rows_of(store, part)) for number, part in enumerate(parts))
        read = list(accumulate((part.events for part in parts), initial=0))
        work = partial(_read_rows, plan, folder, source_names(store))
        return workers.map(work, tasks, lambda done, _: progress("reading", read[done] / read[-1]))


def _read_rows(plan: Plan, folder: Path, names: Mapping[str, str], task: tuple[int, Slice, pd.DataFrame]) -> SourceRead:
    """In a worker. Spools a slice's tallies."""
    number, part, rows = task
    normalizers = {v: Normalizer(plan.rules[v].trusted) for v in plan.leaders}
    found = frames_of(rows, names)
    with _spooling(plan, folder, number) as write:
        for place, events in enumerate(found):
            write({leader: normalizer.retell(events) for leader, normalizer in normalizers.items()}, place)
    return SourceRead("", [part.since * 1000] * len(found), LineCounts(len(rows), len(rows)))


@contextmanager
def _spooling(plan: Plan, folder: Path, number: int) -> Iterator[Callable[[Mapping[int, Sequence[Tally]], int], None]]:
    """What writes the tallies of a source's frames: (leader of the rule sets -> tallies, place of the frame)."""
    with ExitStack() as stack:
        spools = {v: stack.enter_context(SpoolWriter(folder, v, number, PARTITIONS)) for v in plan.leaders}

        def write(found: Mapping[int, Sequence[Tally]], frame: int) -> None:
            for leader, tallies in found.items():
                wanted = tallies if plan.stop == inf else [tally for tally in tallies if tally.at < plan.stop]
                spools[leader].write(split(wanted, frame, PARTITIONS))

        yield write
