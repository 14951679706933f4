"""The agent: a table, what keeps it (reader, snapshot, expiry), what answers from it, and the figures about both."""

import asyncio
import gc
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from pipeline.adapters.agent.reader import Clock, EnforcementReader, topics_of
from pipeline.adapters.agent.snapshot import SnapshotError, candidates, load_slices, write_snapshot, written_at
from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.adapters.kafka.security.access import cluster_of, table_at
from pipeline.enforce.asked import Greeting
from pipeline.enforce.clock import TrustedClock
from pipeline.enforce.limiter import Limiter
from pipeline.enforce.table import DecisionTable
from pipeline.enforce.terms import Restriction
from pipeline.hooks.hook import Context
from pipeline.metrics import Recorder
from pipeline.networks import no_country
from pipeline.settings import Settings

_log = structlog.get_logger()

SNAPSHOT: Final = "enforcement.snapshot"
_TICK = 1.0
_PATIENCE = 0.5
_WRITING_SHARE = 20  # a large table is written at most 1/20 of the time


class EnforcementAgent:
    """``context`` serves hooks from ``start`` on: first what the snapshot knows, then what Kafka says.

    ``flags``: of ``Context``. ``snapshot_seconds``: how old the snapshot of a changed table may be; a large table is
    written less often. ``clock`` may be set while it runs; ``steady`` is one that nobody sets.
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
        steady: Clock = time.monotonic,
    ) -> None:
        self.table = DecisionTable()
        self.context = Context(self.table, Limiter(), recorder, geo or no_country, flags)
        self._cluster = cluster = cluster_of(settings)
        self.reader = EnforcementReader(self.table, clock, recorder, lambda: topics_of(cluster), cluster.keys)
        self._path = settings.state_dir / SNAPSHOT
        self._clock, self._steady, self._trusted = clock, steady, TrustedClock()
        self._recorder = recorder
        self._geo = geo
        self._interval = snapshot_seconds
        self._written_at: float | None = None
        self._written_changes = 0
        self._next_write = 0.0
        self._saving = asyncio.Lock()
        self._unobeyed = 0
        self._running: asyncio.Task[None] | None = None
        self._loading = asyncio.Event()  # set when the snapshot was read, or found missing
        self._known = False

    async def start(self) -> None:
        """Loads the snapshot, then follows Kafka, while the table is answered from.

        Never waits for Kafka, and for the snapshot ``_PATIENCE`` seconds at most: until then it is better not to listen
        than to say of somebody who is restricted that he is not.
        """
        self._try_to_write()
        self._running = asyncio.create_task(self._run())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._loading.wait(), _PATIENCE)

    async def stop(self) -> None:
        """Ends the reader and writes the snapshot, unless it is not loaded yet."""
        await self.reader.stop()
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running
        if self._loading.is_set():
            await self._save()

    def table_age(self) -> float:
        """Seconds since Kafka was last heard; NaN if never."""
        heard_at = self.reader.state.heard_at
        return math.nan if heard_at is None else time.monotonic() - heard_at

    def health(self) -> Mapping[str, object]:
        """For ``/healthz``: what is served, and how fresh it is. ``ok``: it answers from what a snapshot or Kafka said,
        and what keeps the table is alive."""
        age = self.table_age()
        alive = self._running is not None and not self._running.done()
        return {
            "ok": alive and self._known,
            "ready": self.reader.state.ready,
            "decisions": len(self.table),
            "allow_entries": self.table.allow_entries,
            "table_age_seconds": None if math.isnan(age) else round(age, 3),
            "lag_messages": self.reader.state.lag,
            "unobeyed_countries": self._unobeyed,
            "shadow": "--shadow" in self.context.flags,
        }

    def greeting(self) -> Greeting:
        """For operators: where its decisions come from, and how fresh they are."""
        return Greeting(table_at(self._cluster), self.health(), self.reader.unobeyed)

    def tick(self) -> None:
        """Expiry, a new GeoIP file, and figures. Called every second."""
        self._reload_geo()
        self._known = self._known or self.reader.state.ready
        expired = self.table.expire(self._trusted_time())
        if expired:
            self._recorder.add("sekimori_enforce_expired_total", expired)
        for mode, count in self.table.count.items():
            self._recorder.set("sekimori_enforce_decisions", count, mode)
        self._recorder.set("sekimori_enforce_allow_entries", self.table.allow_entries)
        self._recorder.set("sekimori_enforce_table_age_seconds", self.table_age())
        self._recorder.set("sekimori_enforce_ready", float(self.reader.state.ready))
        self._recorder.set("sekimori_enforce_lag_messages", self.reader.state.lag)
        self._look_at_countries()
        written = self._written_at
        self._recorder.set(
            "sekimori_enforce_snapshot_age_seconds", math.nan if written is None else self._clock() - written
        )

    def _look_at_countries(self) -> None:
        """Decisions about countries are obeyed only where somebody knows which address is where."""
        unobeyed = self.table.about_countries if self._geo is None else 0
        if unobeyed and not self._unobeyed:
            _log.warning("countries_not_obeyed", decisions=unobeyed, do="set SEKIMORI_GEOIP to a MaxMind DB file")
        self._unobeyed = unobeyed
        self._recorder.set("sekimori_enforce_unobeyed_countries", unobeyed)

    def _reload_geo(self) -> None:
        if self._geo is None:
            return
        try:
            self._geo.reload_if_changed()
        except GeoFileError as error:  # half copied, perhaps: the old one stays in use
            _log.warning("geoip_refused", error=str(error))

    def _trusted_time(self) -> float:
        """Until when decisions are forgotten for good; those that are over by the clock alone are hidden, and kept."""
        before = self._trusted.leaps
        trusted = self._trusted.time(self._clock(), self._steady())
        if self._trusted.leaps != before:
            ahead = round(self._clock() - trusted)
            _log.warning("clock_moved", ahead_of_what_is_believed=ahead, kept="what is over by it alone")
            self._recorder.add("sekimori_enforce_clock_leaps_total")
        return trusted

    async def _run(self) -> None:
        """Never ends by itself: what goes wrong is told, and tried again a second later."""
        told = ""
        while True:
            try:
                if not self._loading.is_set():
                    await self._load()
                    self._loading.set()
                    self.reader.start()
                self.tick()
                if time.monotonic() >= self._next_write:
                    await self._save()
                told = ""
            except Exception as error:  # noqa: BLE001  # no agent may end while it can answer
                if told != repr(error):
                    told = repr(error)
                    _log.error("agent_failed", error=told, next="tried again every second", exc_info=True)
                self._recorder.add("sekimori_enforce_failures_total")
            await asyncio.sleep(_TICK)

    async def _load(self) -> None:
        gc.disable()  # a collection would walk through a million decisions while a mail server waits
        try:
            for path in candidates(self._path):
                if await self._load_one(path):
                    return
        finally:
            gc.freeze()
            gc.enable()
        _log.warning("snapshot_missing", path=str(self._path), until="Kafka is read no decision is known")

    async def _load_one(self, path: Path) -> bool:
        try:
            at = await asyncio.to_thread(written_at, path)
            for _ in load_slices(path, self.table, min(at, self._clock())):
                await asyncio.sleep(0)
        except FileNotFoundError:
            return False
        except (SnapshotError, OSError) as error:
            _log.error("snapshot_refused", error=str(error))
            self._recorder.add("sekimori_enforce_snapshots_total", 1, "damaged")
            return False
        self._written_at, self._written_changes, self._known = at, self.table.changes, True
        self._trusted.start(self._clock(), self._steady(), at)
        self._recorder.add("sekimori_enforce_snapshots_total", 1, "loaded")
        _log.info("snapshot_loaded", path=str(path), decisions=len(self.table))
        return True

    def _try_to_write(self) -> None:
        """A folder that cannot be written is told at the start, not when the snapshot is missed."""
        probe = self._path.with_name(f"{SNAPSHOT}.probe")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            _log.error(
                "state_dir_not_writable",
                error=str(error),
                lost="without a snapshot no decision is known after a restart while Kafka is away",
                next="set SEKIMORI_STATE_DIR to a folder that this user may write",
            )
            self._recorder.add("sekimori_enforce_snapshots_total", 1, "failed")

    async def _save(self) -> None:
        await asyncio.shield(self._save_alone())  # a thread that writes goes on when its task is cancelled

    async def _save_alone(self) -> None:
        async with self._saving:
            if self.table.changes != self._written_changes:
                await self._save_changes()

    async def _save_changes(self) -> None:
        changes, now, started = self.table.changes, self._clock(), time.monotonic()
        decisions: list[Restriction] = []
        for part in self.table.parts():
            decisions += part
            await asyncio.sleep(0)
        allowlist = self.table.allowlist()
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
