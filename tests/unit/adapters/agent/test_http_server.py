"""A real HTTP server on loopback: what Dovecot, and what anybody else who reaches the port, may send."""

import asyncio
import gzip
from base64 import b64encode
from typing import Any

import aiohttp
import pytest

from pipeline.adapters.agent.http_server import hook_app
from pipeline.adapters.connections import Connections
from pipeline.adapters.http import serve_http
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.enforce.limiter import Limiter
from pipeline.hooks.dovecot import HOOK
from pipeline.hooks.hook import Context
from tests.support.decisions import NOW, decision, table

ALICE = "alice@example.org"
RESTRICTED = table(decision(ALICE, rule="guessing", action="deny_login", scope="login"))
BODY = {"login": ALICE, "remote": "198.51.100.21", "protocol": "imap", "success": False, "policy_reject": True}


@pytest.mark.parametrize(
    ("method", "query", "key", "body", "status", "answer"),
    [
        ("POST", "?command=allow", "secret", BODY, 200, -1),
        ("POST", "auth/policy?command=allow", "secret", BODY | {"login": "bob@example.org"}, 200, 0),
        ("POST", "?command=report", "secret", BODY, 200, "ok"),
        ("POST", "command/report", "secret", BODY, 200, "ok"),
        ("POST", "command/allow", "secret", BODY | {"success": "false", "device_id": None}, 200, -1),
        ("GET", "?command=ping", "secret", None, 200, "ok"),
        ("POST", "?command=ping", "secret", None, 200, "ok"),
        ("POST", "?command=allow", "wrong", BODY, 401, "failure"),
        ("POST", "?command=allow", "schlüssel", BODY, 401, "failure"),
        ("POST", "?command=allow", None, BODY, 401, "failure"),
        ("GET", "?command=allow", "secret", None, 404, "failure"),
        ("POST", "?command=reset", "secret", BODY, 404, "failure"),
        ("POST", "", "secret", BODY, 404, "failure"),
        ("POST", "?command=allow", "secret", ["x"], 400, "failure"),
        ("POST", "?command=allow", "secret", BODY | {"login": "x" * 100_000}, 413, "failure"),
    ],
)
def test_the_auth_policy_endpoint_answers_as_weakforced_does(
    method: str, query: str, key: str | None, body: Any, status: int, answer: object
) -> None:
    async def main() -> None:
        recorder = PrometheusRecorder()
        app = hook_app(HOOK, Context(RESTRICTED, Limiter(), recorder), lambda: NOW, "secret")
        runner = await serve_http(app, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/{query}"
        headers = {} if key is None else {"X-API-Key": key}
        async with aiohttp.ClientSession() as client, client.request(method, url, json=body, headers=headers) as got:
            assert got.status == status
            if answer is not None:
                assert (await got.json())["status"] == answer
        await runner.cleanup()
        counted = recorder.registry.get_sample_value(
            "sekimori_enforce_reports_total", {"success": "false", "policy_reject": "true"}
        )
        assert (counted or 0) == ("report" in query and status == 200)

    asyncio.run(main())


NESTED = b'{"login":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
ALLOW = b"POST /?command=allow HTTP/1.1\r\nHost: x\r\n"
BOMB = gzip.compress(b" " * 10_000_000)


def basic(user_and_key: bytes) -> bytes:
    return b"Authorization: Basic " + b64encode(user_and_key) + b"\r\n"


def sized(body: bytes, headers: bytes = b"X-API-Key: secret\r\n") -> bytes:
    return ALLOW + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    return ALLOW + b"X-API-Key: secret\r\nTransfer-Encoding: chunked\r\n\r\n" + framed


@pytest.mark.parametrize(
    ("sent", "status", "why"),
    [
        (sized(b'{"login":"alice@example.org"}', basic(b"wforce:secret")), 200, ""),
        (sized(b'{"login":"alice@example.org"}', basic(b":secret")), 200, ""),
        (sized(b"{}", basic(b"wforce:wrong")), 401, "api_key"),
        (sized(b"{}", basic(b"secret")), 401, "api_key"),
        (sized(b"{}", b"Authorization: Basic \xff\xfe\r\n"), 401, "api_key"),
        (sized(b"{}", b"Authorization: Basic a\r\n"), 401, "api_key"),
        (sized(b"{}", b"Authorization: Bearer secret\r\n"), 401, "api_key"),
        (sized(b"{}", b"X-API-Key: \xff\xfe\r\n"), 401, "api_key"),
        (sized(b"{}", "X-API-Key: schlüssel\r\n".encode()), 401, "api_key"),
        (sized(NESTED), 400, "unreadable"),
        (sized(b"no gzip", b"X-API-Key: secret\r\nContent-Encoding: gzip\r\n"), 400, "unreadable"),
        (sized(b"\xff", b"X-API-Key: secret\r\nContent-Encoding: deflate\r\n"), 400, "unreadable"),
        (sized(BOMB, b"X-API-Key: secret\r\nContent-Encoding: gzip\r\n"), 413, "too_long"),
        *((chunked(b" " * 70_000, size), 413, "too_long") for size in (100, 10_000, 70_000)),
        *((chunked(b" " * 65_000 + b'{"login":"alice@example.org"}', size), 200, "") for size in (100, 10_000)),
        (b"GET /?command=ping HTTP/1.1\r\nHost: x\r\nX-API-Key: secret\r\n\r\n", 200, ""),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, ""),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "unreadable",
        ),
    ],
)
def test_whatever_a_client_sends_has_an_answer_and_no_traceback(
    sent: bytes, status: int, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        recorder = PrometheusRecorder()
        app = hook_app(HOOK, Context(RESTRICTED, Limiter(), recorder), lambda: NOW, "secret")
        runner = await serve_http(app, "127.0.0.1", 0, Connections(recorder), HOOK.name)
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(sent)
        assert int((await reader.readline()).split()[1]) == status
        writer.close()
        await runner.cleanup()
        labels = {"hook": "dovecot", "why": why}
        counted = recorder.registry.get_sample_value("sekimori_enforce_refused_requests_total", labels)
        assert counted == (1 if why else None)

    asyncio.run(main())
    assert not [record for record in caplog.records if record.exc_info]
