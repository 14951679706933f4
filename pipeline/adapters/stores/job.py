"""The store job: topics into ClickHouse, for as long as it takes, whoever is away meanwhile."""

import signal
import threading
import time
from datetime import timedelta
from types import TracebackType
from typing import Self

import structlog

from pipeline.adapters.kafka.follow import follow
from pipeline.adapters.kafka.security.access import cluster_of
from pipeline.adapters.kafka.security.acls import check_access
from pipeline.adapters.kafka.security.gate import Gate
from pipeline.adapters.stores.clickhouse import ClickHouse
from pipeline.metrics import Recorder
from pipeline.ports import Record, StoreUnavailable
from pipeline.settings import Settings, SettingsError
from pipeline.storage.archive import STORED, Archive
from pipeline.storage.sql import utc
from pipeline.storage.storing import Sink, drop_before
from schemas.times import DAY

GROUP = "sekimori-store"
EVERY = 2.0  # seconds between inserts, because ClickHouse wants few large ones; less while much is waiting
MUCH = 500  # messages: there is more where they came from
ROWS = 100_000  # of one insert: enough for ClickHouse, and no more memory than that
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds between tries while the store is away

NEVER = float("-inf")

_log = structlog.get_logger()


class StoreJob:
    """Reads the topics as one of the group, and commits what the store has.

    While the store is away, nothing is read and nothing lost: the topics wait, for as long as they are kept. Context
    manager: from its begin, SIGTERM and SIGINT end ``run``; its end closes the connection.
    """

    def __init__(self, settings: Settings, recorder: Recorder) -> None:
        """Raises SettingsError without the address of a store."""
        if not settings.clickhouse:
            raise SettingsError("SEKIMORI_CLICKHOUSE is not set; give host:port, such as 127.0.0.1:9000")
        self._settings, self._recorder = settings, recorder
        self._store = ClickHouse.of(settings)
        self._archive = Archive(Sink(self._store), recorder, Gate(cluster_of(settings).keys, recorder).why_not)
        self._stop = threading.Event()
        self._many = self._up = False
        self._written = self._cleaned = NEVER
        self._pause = FIRST_PAUSE

    def run(self) -> None:
        """Works until SIGTERM or SIGINT. Raises StoreError (tables are missing), TopicMissing, BrokerUnavailable."""
        while not self._stop.is_set():
            try:
                self._store.execute("SELECT 1")
                self._up = True
                self._recorder.set("sekimori_store_up", 1)
                self._follow()
            except StoreUnavailable as error:
                self._up = False
                self._recorder.set("sekimori_store_up", 0)
                self._recorder.add("sekimori_store_failures_total")
                self._archive.forget()
                _log.warning("store_unavailable", why=str(error), again_in_seconds=self._pause)
                self._stop.wait(self._pause)
                self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def health(self) -> dict[str, object]:
        """For ``/healthz``: does the store take what it is sent, and how long ago it did."""
        ago = None if self._written == NEVER else round(time.monotonic() - self._written, 1)
        return {"store": self._up, "last_write_seconds": ago}

    def __enter__(self) -> Self:
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: self._stop.set())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._store.close()

    def _follow(self) -> None:
        check_access(cluster_of(self._settings), "store")
        follow(
            cluster_of(self._settings),
            GROUP,
            [topic.name for topic in STORED],
            work=self._take,
            flush=self._write,
            stopping=self._wait,
            session_timeout=self._settings.session_timeout,
        )

    def _take(self, records: list[Record]) -> None:
        self._many = len(records) >= MUCH
        for record in records:
            if self._archive.take(record) >= ROWS:
                self._write()

    def _write(self) -> None:
        started = time.monotonic()
        self._archive.write(time.time())
        self._written = time.monotonic()
        self._pause = FIRST_PAUSE
        self._recorder.observe("sekimori_store_write_seconds", self._written - started)
        if self._settings.store_days and self._written - self._cleaned > DAY:
            self._cleaned = self._written
            self._drop_old()

    def _drop_old(self) -> None:
        last = utc(time.time()) - timedelta(days=self._settings.store_days)
        for gone in drop_before(self._store, last.date()):
            self._recorder.add("sekimori_store_dropped_months_total", 1, gone.partition("/")[0])
            _log.info("retention", dropped=gone)

    def _wait(self) -> bool:
        left = 0.0 if self._many else self._written + EVERY - time.monotonic()
        return self._stop.wait(max(0.0, left))
