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
from itertools import accumulate, tee
from math import inf
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from pipeline.adapters.files.logfile import frames, named_frames
from pipeline.adapters.geoip import GeoFile
from pipeline.adapters.stores.address import shown_address
from pipeline.adapters.stores.opening import open_store
from pipeline.adapters.trials.spool import SpoolWriter, spooled
from pipeline.adapters.workers import Workers, tick
from pipeline.networks import no_country
from pipeline.normalize.doubles import Doubles, LineNames
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

PART = 64 * 1_048_576  # bytes of lines' names that are looked through at a time

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

    Each file is read by itself; where lines turn out to be in several of them, all are read once more, in their order,
    by one process, and these lines count once.

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
    files = range(len(logs.files))
    sources = workers.map(read, files, lambda _, at: progress("reading", sum(at) / sizes))
    if not have_in_common([_names(folder, number) for number in files]):
        return sources
    together = partial(_read_together, plan, logs, folder)
    return workers.map(together, [0], lambda _, at: progress("reading together", sum(at) / sizes))


def _names(folder: Path, number: int) -> Path:
    return folder / f"names-{number}"


def have_in_common(names: Sequence[Path]) -> bool:
    """Is a name in two of these files? They are looked through a part at a time, so that memory is bounded. Raises
    OSError."""
    found = [np.memmap(path, np.int64, "r") for path in names if path.stat().st_size]
    parts = 1 + sum(of_file.nbytes for of_file in found) // PART
    for part in range(parts):
        own = [np.unique(of_file[of_file % parts == part]) for of_file in found]
        if len(own) > 1 and len(np.unique(np.concatenate(own))) < sum(map(len, own)):
            return True
    return False


def _normalizers(plan: Plan, logs: Logs, doubles: Doubles | None = None) -> dict[int, Normalizers]:
    """By the leaders of rule sets."""
    lookup = GeoFile(logs.geoip) if logs.geoip else no_country
    return {v: Normalizers(plan.rules[v].trusted, logs.zone, lookup, logs.zones, doubles) for v in plan.leaders}


def _read_file(plan: Plan, logs: Logs, folder: Path, number: int) -> SourceRead:
    """In a worker. Spools the file's tallies, and of several files what its lines are called."""
    names = LineNames() if len(logs.files) > 1 else None
    normalizers = _normalizers(plan, logs, names)
    copies = tee(frames(logs.files[number]), len(normalizers))
    source = SourceRead(logs.files[number].name, [], LineCounts())
    with _spooling(plan, folder, number) as write, _names(folder, number).open("wb") as named:
        read = [of.read_all(copy) for of, copy in zip(normalizers.values(), copies, strict=True)]
        for normalized in zip(*read, strict=True):
            write({v: of.batch.tallies for v, of in zip(normalizers, normalized, strict=True)}, len(source.times))
            first = normalized[0]  # they differ in joins and tallies only
            source.times.append(first.at)
            source.counts.add(first.counts)
            tick(number, first.position)
            if names is not None:
                named.write(names.take())
    return source


def _read_together(plan: Plan, logs: Logs, folder: Path, number: int) -> SourceRead:
    """In a worker. All files as replay reads them, which makes one source of them; spools its tallies."""
    source = SourceRead("", [], LineCounts())
    places = {str(path): place for place, path in enumerate(logs.files)}
    for place in places.values():
        tick(place, 0)
    normalizers = _normalizers(plan, logs)
    streams = [of.in_order(named_frames(logs.files)) for of in normalizers.values()]
    with _spooling(plan, folder, number) as write:
        for normalized in zip(*streams, strict=True):
            write({v: of.batch.tallies for v, of in zip(normalizers, normalized, strict=True)}, len(source.times))
            first = normalized[0]  # they are in the same order, see above
            source.times.append(first.at)
            source.counts.add(first.counts)
            tick(places[first.source], first.position)
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
