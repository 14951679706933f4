"""A real HTTP server on loopback: what Dovecot, and what anybody else who reaches the port, may send."""

import asyncio
from typing import Any

import aiohttp
import pytest

from pipeline.adapters.agent.http_server import hook_app
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
        ("POST", "?command=report", "secret", BODY, 200, 0),
        ("GET", "?command=ping", "secret", None, 200, "ok"),
        ("POST", "?command=ping", "secret", None, 200, "ok"),
        ("POST", "?command=allow", "wrong", BODY, 401, "failure"),
        ("POST", "?command=allow", "schlüssel", BODY, 401, "failure"),
        ("POST", "?command=allow", None, BODY, 401, "failure"),
        ("GET", "?command=allow", "secret", None, 404, "failure"),
        ("POST", "?command=reset", "secret", BODY, 404, "failure"),
        ("POST", "", "secret", BODY, 404, "failure"),
        ("POST", "?command=allow", "secret", ["x"], 400, "failure"),
        ("POST", "?command=allow", "secret", BODY | {"login": "x" * 100_000}, 413, None),
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
        assert (counted or 0) == (query == "?command=report" and status == 200)

    asyncio.run(main())
