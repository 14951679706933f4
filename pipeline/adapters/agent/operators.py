"""Tells operators of this host what is in force, over a UNIX socket of the agent's own, see ``pipeline.enforce.asked``.

Mail servers do not reach it, nor who reaches the ports. A subject is looked up; for all else the table is gone through
for a millisecond, then mail servers have one for themselves; what an operator does not take is not made.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, closing, suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from pipeline.adapters.agent.agent import EnforcementAgent
from pipeline.adapters.agent.sockets import SocketAccess, listen
from pipeline.enforce.asked import LONGEST, Asked, End, Greeting, Part, of_restriction
from pipeline.enforce.terms import Restriction
from pipeline.metrics import Recorder
from schemas.codec import DecodeError, decoded

_log = structlog.get_logger()

HOOK: Final = "operators"
"""Its name in the metrics of requests."""
_STEP: Final = 100  # decisions, which take half a millisecond at most
_TURN: Final = 0.001  # seconds
_MOST: Final = 8  # connections
_PATIENCE: Final = 10.0  # seconds for a question, and for a part of the answer to be taken
_ASKED = msgspec.json.Decoder(Asked)

Line = Greeting | Part | End


def access_of(group: str) -> SocketAccess:
    """For the agent's own user (and root), and for members of the ``group``, if one is given."""
    return SocketAccess(0o660 if group else 0o600, group, usual="", option="--agent-group")


class OperatorServer(AsyncExitStack):
    """Listens from ``listen`` until it is closed."""

    def __init__(self, agent: EnforcementAgent, recorder: Recorder) -> None:
        super().__init__()
        self._agent, self._recorder = agent, recorder
        self._open: set[asyncio.Task[None]] = set()

    async def listen(self, path: Path, access: SocketAccess) -> bool:
        """False if it cannot, which is told: mail servers are answered all the same.

        Raises ValueError (there is no such group), PermissionError (the socket cannot be given to it).
        """
        try:
            listener = listen(path, access)
        except OSError as error:
            if access.group and isinstance(error, PermissionError):
                raise
            _log.error(
                "agent_socket_not_open", path=str(path), error=str(error), lost="`sekimori decisions list` reads Kafka"
            )
            return False
        inode = path.stat().st_ino
        server = await asyncio.start_unix_server(self._connected, sock=listener, limit=LONGEST)
        self.push_async_callback(self._close, server, path, inode)
        return True

    async def _close(self, server: asyncio.Server, path: Path, inode: int) -> None:
        with suppress(OSError):
            if path.stat().st_ino == inode:  # another agent may have taken the path over
                path.unlink()
        server.close()
        for task in list(self._open):
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if len(self._open) > _MOST:
                self._refuse("connections", f"{_MOST} are open already")
                return
            asked = await self._question(reader)
            if asked is not None:
                await self._tell(asked, writer)
                self._recorder.add("sekimori_enforce_requests_total", 1, HOOK, "listed")
        except TimeoutError:
            self._refuse("slow", f"nothing was asked, or taken, for {_PATIENCE:.0f} s")
        except ConnectionError:
            pass  # an operator who has seen enough
        except Exception as error:  # noqa: BLE001  # whatever fails, mail servers are answered
            self._refuse("failed", repr(error))
        finally:
            self._open.discard(task)
            writer.close()

    async def _question(self, reader: asyncio.StreamReader) -> Asked | None:
        """None if nobody asks, or what comes is no question, which is told."""
        try:
            async with asyncio.timeout(_PATIENCE):
                line = await reader.readline()
            return decoded(_ASKED.decode, line) if line else None
        except DecodeError as error:
            self._refuse("unreadable", str(error))
        except ValueError:
            self._refuse("too_long", f"a question has at most {LONGEST} bytes")
        return None

    async def _tell(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        async with aclosing(self._answer(asked)) as lines, asyncio.timeout(_PATIENCE) as patience:
            async for line in lines:
                writer.write(msgspec.json.encode(line) + b"\n")
                await writer.drain()
                patience.reschedule(loop.time() + _PATIENCE)

    async def _answer(self, asked: Asked) -> AsyncGenerator[Line]:
        table = self._agent.table
        taken, known, turn = table.taken, len(table), _Turn()
        yield self._agent.greeting()
        with closing(table.hidden(asked.at, _STEP)) as parts:
            for part in parts:
                known -= len(part)
                await turn.over()
        with closing(table.about(asked.subjects[0], _STEP) if asked.subjects else table.parts(_STEP)) as parts:
            for part in parts:
                listed = [of_restriction(r) for r in part if r.expires_at > asked.at and _is_asked_for(r, asked)]
                if listed:
                    yield Part(listed)
                await turn.over()
        allowed = table.allowlist()
        for start in range(0, len(allowed), _STEP):
            yield Part(allow=allowed[start : start + _STEP])
            await turn.over()
        yield End(known, table.taken == taken)

    def _refuse(self, why: str, detail: str) -> None:
        _log.warning("operator_not_answered", why=why, detail=detail)
        self._recorder.add("sekimori_enforce_refused_requests_total", 1, HOOK, why)


class _Turn:
    """Whose turn it is: ours for ``_TURN`` seconds, then as long that of mail servers."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def over(self) -> None:
        """To be asked after each step: waits if the turn is over."""
        if time.perf_counter() - self._since >= _TURN:
            await asyncio.sleep(_TURN)
            self._since = time.perf_counter()


def _is_asked_for(restriction: Restriction, asked: Asked) -> bool:
    terms = restriction.terms
    return asked.matches(terms.kind, restriction.subject, terms.rule, terms.mode)
