"""The policy server under load: a million decisions in the table, real requests over loopback TCP.

Server and client are processes of their own. Each connection of the client waits for an answer before it asks again,
as an smtpd process of Postfix does. One request in four is about a restricted account.
"""

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from pipeline.adapters.agent.agent import EnforcementAgent
from pipeline.adapters.agent.line_server import LineServer
from pipeline.adapters.connections import Connections
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.hooks import postfix
from pipeline.settings import Settings
from schemas.codec import decode_decision, encode
from schemas.enforcement import Decision, decision_id
from schemas.kinds import SubjectKind

NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
REQUEST = """request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address={address}
client_name=dsl-26.isp.example
client_port=4444
reverse_client_name=dsl-26.isp.example
server_address=127.0.0.1
server_port=587
helo_name=client.example
sender={account}
recipient=someone.{n}@dest.example
recipient_count=0
queue_id=
instance=6f95.6b04d4a1.{n:x}.0
size=4302
etrn_domain=
stress=
sasl_method=PLAIN
sasl_username={account}
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=TLSv1.3
encryption_cipher=TLS_AES_256_GCM_SHA384
encryption_keysize=256
policy_context=relay

"""


def decision(n: int) -> Decision:
    """Three quarters accounts, one quarter addresses and prefixes of both families."""
    kind: SubjectKind
    if n % 4:
        kind, subject, rule = "account", f"user{n:07d}@example.org", "account_send_rate"
    elif n % 16:
        kind, subject, rule = "ip", f"{11 + n // 65536 % 80}.{n // 256 % 256}.{n % 256}.{n % 251}", "ip_errors"
    else:
        kind, subject, rule = "ip", f"2001:db8:{n // 65536:x}:{n % 65536:x}::/64", "ip_errors"
    return Decision(
        id=decision_id(rule, kind, subject, NOW),
        subject_kind=kind,
        subject=subject,
        action="reject",
        scope="send",
        mode="enforce",
        rule=rule,
        rule_version=1,
        reason=f"{subject} sent {n % 900 + 100} messages within 10 minutes (60 are allowed)",
        issued_at=NOW,
        expires_at=NOW + timedelta(hours=1, seconds=n % 86_400),
        actor="sekimori",
    )


def requests(count: int, decisions: int) -> list[bytes]:
    chance = random.Random(7)
    made = []
    for n in range(count):
        blocked = chance.random() < 0.25
        account = (
            f"user{chance.randrange(decisions // 4) * 4 + 1:07d}@example.org" if blocked else f"honest{n}@example.org"
        )
        made.append(REQUEST.format(account=account, address=f"198.51.{n % 256}.{n // 256 % 256}", n=n).encode())
    return made


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def serve(decisions: int) -> None:
    """The server's process. Ends when its standard input does; tells its figures as JSON."""
    agent = EnforcementAgent(Settings(), NOW.timestamp, PrometheusRecorder())
    gc.collect()
    before = resident()
    load_seconds = 0.0
    for n in range(decisions):
        raw = encode(decision(n))
        started = time.perf_counter()
        read = decode_decision(raw)
        agent.table.apply(read.key, read)
        load_seconds += time.perf_counter() - started
    gc.collect()
    gc.freeze()  # as the agent does once the topic is read
    told = {
        "bytes_per_decision": (resident() - before) / decisions,
        "decisions": len(agent.table),
        "applied_per_s": decisions / load_seconds,
    }

    async def main() -> None:
        server = LineServer(agent.context, NOW.timestamp, Connections(agent.context.recorder))
        port = await server.listen_tcp(postfix.HOOK, "127.0.0.1", 0)
        used = time.process_time()
        print(port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        told["cpu_seconds"] = time.process_time() - used
        await server.close()

    uvloop.run(main())
    print(json.dumps(told), flush=True)


class Client(asyncio.Protocol):
    """One connection: asks, waits, asks."""

    def __init__(self, asked: list[bytes], until: float, done: "asyncio.Future[None]") -> None:
        self.asked, self.until, self.done = asked, until, done
        self.next, self.sent_at = 0, 0.0
        self.waits: list[float] = []
        self.refused = 0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.sent_at = time.perf_counter()
        self.transport.write(self.asked[self.next % len(self.asked)])
        self.next += 1

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        assert data.endswith(b"\n\n"), data
        self.waits.append(now - self.sent_at)
        self.refused += data.startswith(b"action=REJECT")
        if now < self.until:
            self.ask()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.done.set_result(None)


def _same(client: Client) -> Client:
    return client


async def load(port: int, connections: int, seconds: float, asked: list[bytes]) -> tuple[list[float], int]:
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + seconds
    share = len(asked) // connections
    clients = []
    for n in range(connections):
        client = Client(asked[n * share : (n + 1) * share], until, loop.create_future())
        clients.append(client)
        await loop.create_connection(partial[Client](_same, client), "127.0.0.1", port)
    await asyncio.gather(*(c.done for c in clients))
    return sorted(w for c in clients for w in c.waits), sum(c.refused for c in clients)


def run(decisions: int = 1_000_000, connections: int = 24, seconds: float = 5.0) -> dict[str, float]:
    """Measures; times in milliseconds, memory in bytes."""
    command = [sys.executable, "-m", "bench.policy", "serve", str(decisions)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        asked = requests(48_000, decisions)
        waits, refused = uvloop.run(load(port, connections, seconds, asked))
        server.stdin.close()
        told = json.loads(server.stdout.readline())
    return {
        "decisions": told["decisions"],
        "bytes_per_decision": round(told["bytes_per_decision"]),
        "applied_per_s": round(told["applied_per_s"]),
        "connections": connections,
        "requests_per_s": round(len(waits) / seconds),
        "requests_per_cpu_s": round(len(waits) / told["cpu_seconds"]),
        "refused_share": round(refused / len(waits), 3),
        "p50_ms": round(waits[len(waits) // 2] * 1000, 2),
        "p99_ms": round(waits[int(len(waits) * 0.99)] * 1000, 2),
        "max_ms": round(waits[-1] * 1000, 2),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]))
    else:
        for name, value in run(*map(int, sys.argv[1:2])).items():
            print(f"{name:20} {value:>14,}")
