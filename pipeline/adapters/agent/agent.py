"""The agent: a table, what keeps it (reader, snapshot, expiry), what answers from it, and the figures about both."""

import asyncio
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import structlog

from pipeline.adapters.agent.reader import Clock, EnforcementReader, topics_of
from pipeline.adapters.agent.snapshot import SnapshotError, candidates, read_snapshot, write_snapshot
from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.adapters.kafka.cluster import Cluster
from pipeline.enforce.limiter import Limiter
from pipeline.enforce.table import DecisionTable
from pipeline.hooks.hook import Context
from pipeline.metrics import Recorder
from pipeline.networks import no_country
from pipeline.settings import Settings

_log = structlog.get_logger()

SNAPSHOT: Final = "enforcement.snapshot"
_TICK = 1.0
_WRITING_SHARE = 20  # a large table is written at most 1/20 of the time


class EnforcementAgent:
    """``context`` serves hooks from ``start`` on: first what the snapshot knows, then what Kafka says.

    ``flags``: of ``Context``. ``snapshot_seconds``: how old the snapshot of a changed table may be; a large table is
    written less often.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        recorder: Recorder,
        *,
        geo: GeoFile | None = None,
        flags: frozenset[str] = frozenset(),
        snapshot_seconds: float = 10.0,
    ) -> None:
        self.table = DecisionTable()
        self.context = Context(self.table, Limiter(), recorder, geo or no_country, flags)
        self.reader = EnforcementReader(self.table, clock, recorder, lambda: topics_of(Cluster.of(settings)))
        self._path = settings.state_dir / SNAPSHOT
        self._clock = clock
        self._recorder = recorder
        self._geo = geo
        self._interval = snapshot_seconds
        self._written_at: float | None = None
        self._written_changes = 0
        self._next_write = 0.0
        self._saving = asyncio.Lock()
        self._ticking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Loads the snapshot, then follows Kafka. Never waits for Kafka."""
        self._load()
        self.reader.start()
        self._ticking = asyncio.create_task(self._tick_for_ever())

    async def stop(self) -> None:
        """Ends the reader and writes the snapshot."""
        await self.reader.stop()
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        await self._save()

    async def until(self, stop: asyncio.Event) -> None:
        """Returns when ``stop`` is set. Raises RuntimeError if what keeps the table has broken meanwhile."""
        assert self._ticking is not None
        stopped, ended = asyncio.create_task(stop.wait()), asyncio.create_task(self.reader.ended.wait())
        await asyncio.wait([stopped, ended, self._ticking], return_when=asyncio.FIRST_COMPLETED)
        broken = not stopped.done()
        for task in (stopped, ended):
            task.cancel()
        if broken:
            raise RuntimeError("decisions are no longer read, see the log: start the agent again")

    def table_age(self) -> float:
        """Seconds since Kafka was last heard; NaN if never."""
        heard_at = self.reader.state.heard_at
        return math.nan if heard_at is None else time.monotonic() - heard_at

    def health(self) -> Mapping[str, object]:
        """For ``/healthz``: what is served, and how fresh it is."""
        age = self.table_age()
        return {
            "ready": self.reader.state.ready,
            "decisions": len(self.table),
            "allow_entries": self.table.allow_entries,
            "table_age_seconds": None if math.isnan(age) else round(age, 3),
            "lag_messages": self.reader.state.lag,
        }

    def tick(self) -> None:
        """Expiry, a new GeoIP file, and figures. Called every second."""
        self._reload_geo()
        expired = self.table.expire(self._clock())
        if expired:
            self._recorder.add("sekimori_enforce_expired_total", expired)
        for mode, count in self.table.count.items():
            self._recorder.set("sekimori_enforce_decisions", count, mode)
        self._recorder.set("sekimori_enforce_allow_entries", self.table.allow_entries)
        self._recorder.set("sekimori_enforce_table_age_seconds", self.table_age())
        self._recorder.set("sekimori_enforce_ready", float(self.reader.state.ready))
        self._recorder.set("sekimori_enforce_lag_messages", self.reader.state.lag)
        written = self._written_at
        self._recorder.set(
            "sekimori_enforce_snapshot_age_seconds", math.nan if written is None else self._clock() - written
        )

    def _reload_geo(self) -> None:
        if self._geo is None:
            return
        try:
            self._geo.reload_if_changed()
        except GeoFileError as error:  # half copied, perhaps: the old one stays in use
            _log.warning("geoip_refused", error=str(error))

    async def _tick_for_ever(self) -> None:
        while True:
            self.tick()
            if time.monotonic() >= self._next_write:
                await self._save()
            await asyncio.sleep(_TICK)

    def _load(self) -> None:
        for path in candidates(self._path):
            try:
                table, self._written_at = read_snapshot(path, self._clock())
            except FileNotFoundError:
                continue
            except (SnapshotError, OSError) as error:
                _log.error("snapshot_refused", error=str(error))
                self._recorder.add("sekimori_enforce_snapshots_total", 1, "damaged")
                continue
            self.table.take(table, decisions=True, allowlist=True)
            self._written_changes = self.table.changes
            self._recorder.add("sekimori_enforce_snapshots_total", 1, "loaded")
            _log.info("snapshot_loaded", path=str(path), decisions=len(self.table))
            return
        _log.warning("snapshot_missing", path=str(self._path), until="Kafka is read no decision is known")

    async def _save(self) -> None:
        await asyncio.shield(self._save_alone())  # a thread that writes goes on when its task is cancelled

    async def _save_alone(self) -> None:
        async with self._saving:
            if self.table.changes != self._written_changes:
                await self._save_changes()

    async def _save_changes(self) -> None:
        changes, now, started = self.table.changes, self._clock(), time.monotonic()
        decisions, allowlist = self.table.decisions(), self.table.allowlist()
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            await asyncio.to_thread(write_snapshot, self._path, decisions, allowlist, now)
        except OSError as error:
            _log.error("snapshot_not_written", path=str(self._path), error=str(error))
            self._recorder.add("sekimori_enforce_snapshots_total", 1, "failed")
        else:
            self._written_at, self._written_changes = now, changes
            self._recorder.add("sekimori_enforce_snapshots_total", 1, "written")
        took = time.monotonic() - started
        self._next_write = time.monotonic() + max(self._interval, _WRITING_SHARE * took)
