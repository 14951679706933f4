"""The socket at which operators ask an agent, and who asks there: real sockets, a table of our own."""

import asyncio
import grp
import os
import random
import socket
import stat
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from structlog.testing import capture_logs

from pipeline.adapters.agent.agent import EnforcementAgent
from pipeline.adapters.agent.asking import AgentAnswer, AgentSilent, ask
from pipeline.adapters.agent.operators import OperatorServer, access_of
from pipeline.enforce.asked import LONGEST, Asked, of_decision
from pipeline.metrics import MemoryRecorder
from pipeline.settings import Settings
from schemas.enforcement import Decision
from tests.support.decisions import NOW, allow, decision, table
from tests.support.foreign import SPELLED

GIVEN = (
    *(decision(f"user{n}@example.org", rule=("manual", "guessing")[n % 2]) for n in range(450)),
    decision("alice@example.org", action="notify", actor="operator:花", reason="調査中"),
    decision("alice@example.org|198.51.100.7", "account_ip", action="deny_login", mode="shadow"),
    decision("198.51.100.0/24", "prefix", rule="manual", seconds=7200),
    decision("2001:db8:0:1::/64", "ip", mode="shadow", parameters={"held_by": "brake"}),
    decision("RU", "country", action="deny_login"),
    decision("*", "system", action="notify"),
    decision("over@example.org", seconds=0),
)
ALLOWED = tuple(allow(f"198.51.{n}.0/24", "prefix") for n in range(250))
ALL = Asked(NOW)


class Served:
    def __init__(self, folder: Path) -> None:
        self.recorder, self.path = MemoryRecorder(), folder / "agent.socket"
        self.agent = EnforcementAgent(Settings(state_dir=folder), lambda: NOW, self.recorder)
        self.agent.table.take(table(*GIVEN, *ALLOWED), decisions=True, allowlist=True)
        self.server = OperatorServer(self.agent, self.recorder)

    async def ask(self, asked: Asked = ALL) -> AgentAnswer:
        return await asyncio.to_thread(ask, self.path, asked)

    def refused(self) -> dict[str, float]:
        name = "sekimori_enforce_refused_requests_total"
        return {labels[1]: value for told, labels, value in self.recorder.made if told == name}


def serving(folder: Path, test: Callable[[Served], Awaitable[Any]], group: str = "") -> None:
    async def main() -> None:
        served = Served(folder)
        async with served.server as server, asyncio.timeout(30):
            assert await server.listen(served.path, access_of(group))
            await test(served)
        assert not served.path.exists()

    uvloop.run(main())


@pytest.mark.parametrize(
    "asked",
    [
        ALL,
        Asked(NOW + 3600),
        Asked(NOW - 1),
        Asked(NOW, rule="manual"),
        Asked(NOW, mode="shadow"),
        Asked(NOW, (("account", "alice@example.org"),)),
        Asked(NOW, (("ip", "198.51.100.7"),)),
        Asked(NOW, (("ip", "2001:db8:0:1::99"),)),
        Asked(NOW, (("account", "alice@example.org"), ("ip", "198.51.100.7")), "account_send_rate", "shadow"),
        Asked(NOW, (("account", "nobody@example.org"),)),
    ],
)
def test_the_answer_is_all_that_was_asked_for_and_nothing_else(tmp_path: Path, asked: Asked) -> None:
    holding = [d for d in GIVEN if d.expires_at.timestamp() > asked.at]

    def wanted(d: Decision) -> bool:
        return asked.matches(d.subject_kind, d.subject, d.rule, d.mode)

    async def test(served: Served) -> None:
        answer = await served.ask(asked)
        assert answer.listed == {d.key: of_decision(d) for d in holding if wanted(d)}
        assert (answer.known, answer.allow) == (len(holding), served.agent.table.allowlist())
        assert answer.why_old == "has not read Kafka since it was started"
        assert answer.greeting.cluster == "enforcement at 127.0.0.1:9092"
        assert served.recorder.values("sekimori_enforce_requests_total", "operators", "listed") == [1]

    serving(tmp_path, test)


def test_only_its_own_user_may_ask_unless_a_group_is_named(tmp_path: Path) -> None:
    async def alone(served: Served) -> None:
        assert stat.S_IMODE(served.path.stat().st_mode) == 0o600

    async def group(served: Served) -> None:
        assert (stat.S_IMODE(served.path.stat().st_mode), served.path.stat().st_gid) == (0o660, os.getgid())

    serving(tmp_path, alone)
    serving(tmp_path, group, grp.getgrgid(os.getgid()).gr_name)
    with pytest.raises(ValueError, match="--agent-group: there is no group 'no such group'"):
        serving(tmp_path, group, "no such group")


def test_where_it_cannot_listen_it_says_so_and_nothing_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")

    async def main(path: Path) -> None:
        served = Served(tmp_path)
        async with served.server as server:
            assert not await server.listen(path, access_of(""))

    for path in (tmp_path / "file", tmp_path / "none" / "agent.socket", tmp_path / ("x" * 120)):
        with capture_logs() as logs:
            uvloop.run(main(path))
        assert [(log["event"], log["path"]) for log in logs] == [("agent_socket_not_open", str(path))]
    assert (tmp_path / "file").read_text() == "precious"


HOSTILE = (
    *SPELLED.values(),
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"request=smtpd_access_policy\n\n",
    b"\xff\xfe\x00",
    b'{"at": NaN}',
    b'{"at": 1e400}',
    b'{"at": 0, "subjects": [["account", 1]]}',
    b'{"at": 0, "subjects": [["planet", "x"]]}',
    b'{"at": 0, "command": "stop"}',
    b"[" * 10_000,
    b"x" * (LONGEST + 1),
    b"x" * (LONGEST * 8),
)


def test_hostile_bytes_get_no_answer_and_change_nothing(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        before = await served.ask()
        for sent in HOSTILE:
            reader, writer = await asyncio.open_unix_connection(served.path)
            writer.write(sent.replace(b"\n", b" ") + b"\n")
            writer.write_eof()
            with suppress(ConnectionResetError):  # it did not read to the end
                assert await reader.read() == b"", sent[:80]
            writer.close()
        assert set(served.refused()) <= {"unreadable", "too_long"}
        assert served.refused().keys() == {"unreadable", "too_long"}
        assert (await served.ask()).listed == before.listed

    serving(tmp_path, test)


def test_subjects_of_every_shape_are_answered(tmp_path: Path) -> None:
    strange = ("", "|", "a|b", "\x00", "0.0.0.0/99", "::/0", "%s", "x" * 5_000, "\ud7ff")

    async def test(served: Served) -> None:
        for kind in ("account", "ip", "prefix", "country", "account_ip", "system"):
            for name in strange:
                answer = await served.ask(msgspec.convert({"at": NOW, "subjects": [[kind, name]]}, Asked))
                assert answer.known == len(GIVEN) - 1

    serving(tmp_path, test)


async def refuses(served: Served) -> bool:
    try:
        return not (await served.ask()).known
    except AgentSilent:
        return True


def test_who_does_not_take_his_answer_holds_nobody_up_and_the_ninth_must_wait(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        lazy = [await asyncio.open_unix_connection(served.path) for _ in range(8)]
        while not await refuses(served):
            pass  # until the agent has heard of all eight
        assert "connections" in served.refused()
        lazy[0][1].close()
        while await refuses(served):
            pass
        for _, writer in lazy[1:]:
            writer.close()

    serving(tmp_path, test)


def test_a_table_that_is_replaced_meanwhile_is_told_anew(tmp_path: Path) -> None:
    other = (decision("only@example.org"),)

    async def test(served: Served) -> None:
        answer = served.server._answer(ALL)
        lines = [await anext(answer), await anext(answer)]
        served.agent.table.take(table(*other), decisions=True, allowlist=False)
        lines += [line async for line in answer]
        assert (type(lines[-1]).__name__, getattr(lines[-1], "whole", None)) == ("End", False)
        assert set((await served.ask()).listed) == {other[0].key}

    serving(tmp_path, test)


@contextmanager
def another(path: Path, sends: bytes) -> Iterator[None]:
    """What is no agent listens there: it sends these bytes to everybody, and hangs up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65_536)
                        connection.sendall(sends)
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            path.unlink()


GREETING = b'{"cluster": "x", "health": {"ready": true, "table_age_seconds": 0.1}, "unobeyed": 0}\n'


@pytest.mark.parametrize(
    "sends",
    [
        b"",
        b"action=DUNNO\n\n",
        GREETING,
        GREETING + b'{"type": "end", "known": 1, "whole": false}\n',
        GREETING + b'{"type": "part", "listed": [[1]]}\n',
        GREETING + b'{"type": "end", "known": 1, "whole": true}',
        b"\xff\n" * 10,
        b"[" * 100_000 + b"\n",
        b"x" * (1 << 25),
        *(value + b"\n" for value in SPELLED.values()),
    ],
)
def test_what_is_no_agent_is_found_out(tmp_path: Path, sends: bytes) -> None:
    with another(tmp_path / "s", sends), pytest.raises(AgentSilent):
        ask(tmp_path / "s", ALL)


def test_where_nobody_listens_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(AgentSilent, match="No such file"):
        ask(tmp_path / "none", ALL)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "stale"))
    stale.close()
    with pytest.raises(AgentSilent, match="refused"):
        ask(tmp_path / "stale", ALL)
    with pytest.raises(AgentSilent, match="too long"):
        ask(tmp_path / ("x" * 200), ALL)


def test_an_answer_in_any_pieces_is_the_same(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        whole = await served.ask()
        reader, writer = await asyncio.open_unix_connection(served.path)
        question, chance = msgspec.json.encode(ALL) + b"\n", random.Random(7)
        for at in range(len(question)):
            writer.write(question[at : at + 1])
            await writer.drain()
        told = await reader.read()
        writer.close()
        cut = chance.randrange(len(told))
        for end in (cut, len(told) - 1):
            with another(tmp_path / "s", told[:end]), pytest.raises(AgentSilent):
                await asyncio.to_thread(ask, tmp_path / "s", ALL)
        with another(tmp_path / "s", told):
            assert (await asyncio.to_thread(ask, tmp_path / "s", ALL)).listed == whole.listed

    serving(tmp_path, test)
