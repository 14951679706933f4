"""Connections of all ports of a process: how many may be open at once, and for how long.

A mail server sends a request whole and at once, and then stays connected, idle, for minutes. Who connects and does not
ask, or begins a request and does not end it, may hold half of the connections at most: one more of them costs the
oldest of them its place. So nobody who only opens connections shuts a mail server out. All Postfix processes of a host
are one peer, which is why addresses are not told apart.
"""

import asyncio
import resource
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal

import structlog

from pipeline.metrics import Recorder

_log = structlog.get_logger()

REQUEST_SECONDS: Final = 10.0
"""A request that was begun must be whole after that."""
IDLE_SECONDS: Final = 900.0
"""Without a request. Postfix itself lets a connection go after 300 s (smtpd_policy_service_max_idle)."""
MOST: Final = 4096
RESERVED: Final = 128
"""File descriptors that connections leave for Kafka, the snapshot, logs."""
_WANTED: Final = 16_384
_LEAST_SHARE: Final = 64
_QUIET: Final = 10.0  # seconds between two lines of the log about the same

Why = Literal["connections", "half", "slow", "idle", "unreadable"]


def raise_file_limit() -> int:
    """Raises the soft limit of open files as far as it is of use; returns how many connections there may be, at most
    ``MOST``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    open_at_once = MOST if soft == resource.RLIM_INFINITY else max(16, min(MOST, soft - RESERVED))
    if open_at_once < MOST:
        _log.warning("few_open_files", limit=soft, connections=open_at_once, next="raise LimitNOFILE (ulimit -n)")
    return open_at_once


class Connection:
    """One that is counted. ``end`` closes it."""

    def __init__(self, name: str, end: Callable[[], None]) -> None:
        self.name = name
        self.end = end
        self.since = 0.0
        self.begun = False


class Connections:
    """Those that are open. ``waiting``: without a question yet, or in the middle of one, in order of time; ``idle``:
    the others. To be used in one event loop. ``most``: open at once."""

    def __init__(self, recorder: Recorder, most: int = MOST) -> None:
        self.most = most
        self.waiting: dict[Connection, None] = {}
        self.idle: dict[Connection, None] = {}
        self._recorder = recorder
        self._share = max(_LEAST_SHARE, most // 2)
        self._told: dict[tuple[str, Why], float] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.waiting) + len(self.idle)

    def opened(self, connection: Connection) -> bool:
        """False if there are too many; it must then be closed."""
        if len(self) >= self.most:
            self.refuse(connection.name, "connections", f"{self.most} are open already")
            return False
        if len(self.waiting) >= self._share:
            self._close(next(iter(self.waiting)), "half", f"{self._share} others wait without a whole request")
        self._move(connection, self.waiting)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(1.0, self._sweep)
        return True

    def begins(self, connection: Connection) -> None:
        """A request has begun and is not whole."""
        if not connection.begun:
            connection.begun = True
            self._move(connection, self.waiting)

    def answered(self, connection: Connection) -> None:
        """All its requests are answered."""
        if connection in self.idle:
            connection.since = asyncio.get_running_loop().time()
            return
        connection.begun = False
        self._move(connection, self.idle)

    def closed(self, connection: Connection) -> None:
        """It is no more. May be said twice."""
        self.waiting.pop(connection, None)
        self.idle.pop(connection, None)

    def refuse(self, name: str, why: Why, detail: str) -> None:
        """Counted each time, told now and then: whoever opens connections must not fill the disk with log lines."""
        self._recorder.add("sekimori_enforce_refused_requests_total", 1, name, why)
        now = asyncio.get_running_loop().time()
        if now - self._told.get((name, why), -_QUIET) >= _QUIET:
            self._told[name, why] = now
            _log.warning("connection_closed", hook=name, why=why, detail=detail, open=len(self))

    def _move(self, connection: Connection, to: dict[Connection, None]) -> None:
        self.closed(connection)
        connection.since = asyncio.get_running_loop().time()
        to[connection] = None

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(1.0, self._sweep) if len(self) else None
        now = loop.time()
        for connection in [c for c in self.waiting if c.begun and now - c.since > REQUEST_SECONDS]:
            self._close(connection, "slow", f"a request was not whole after {REQUEST_SECONDS:.0f} s")
        for connections in (self.waiting, self.idle):
            for connection in [c for c in connections if now - c.since > IDLE_SECONDS]:
                self._close(connection, "idle", f"nothing was asked for {IDLE_SECONDS:.0f} s")

    def _close(self, connection: Connection, why: Why, detail: str) -> None:
        self.closed(connection)
        self.refuse(connection.name, why, detail)
        connection.end()
