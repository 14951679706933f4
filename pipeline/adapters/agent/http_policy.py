"""Dovecot auth policy over HTTP: carries ``pipeline.hooks.dovecot``. Any path, as Dovecot's URL is free.

Errors have an HTTP status that is not 2xx: Dovecot then goes on (``auth_policy_reject_on_fail = no``, its default).
"""

import hmac
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp import web

from pipeline.hooks.dovecot import REPORTED, AuthRequest, Reply, UnreadableRequest, parse
from pipeline.metrics import Recorder

log = structlog.get_logger()

MAX_BODY: Final = 65_536

Judge = Callable[[AuthRequest], Reply]
OnReport = Callable[[AuthRequest], None]


def ignore(request: AuthRequest) -> None:
    """For those who need no reports."""
    del request


def auth_policy_app(
    judge: Judge, recorder: Recorder, api_key: str = "", on_report: OnReport = ignore
) -> web.Application:
    """``POST /?command=allow|report`` and ``GET|POST /?command=ping``.

    With an ``api_key`` requests must bring it as ``X-API-Key`` (Dovecot: ``auth_policy_server_api_header``).
    ``on_report`` sees each report, in the event loop: it must be quick.
    """

    def refuse(status: int, why: str, detail: str) -> web.Response:
        log.warning("auth policy request refused", why=why, detail=detail)
        recorder.add("sekimori_enforce_refused_requests_total", 1, "dovecot", why)
        return web.json_response({"status": "failure", "reason": detail}, status=status)

    def reply(given: Reply) -> web.Response:
        recorder.add("sekimori_enforce_requests_total", 1, "dovecot", given.outcome)
        return web.Response(body=given.encode(), content_type="application/json")

    async def handle(request: web.Request) -> web.Response:
        if api_key and not hmac.compare_digest(request.headers.get("X-API-Key", "").encode(), api_key.encode()):
            return refuse(401, "api_key", "X-API-Key is missing or wrong")
        command = request.query.get("command", "")
        if command == "ping":
            return web.json_response({"status": "ok"})
        if request.method != "POST" or command not in {"allow", "report"}:
            return refuse(404, "command", "POST with ?command=allow or ?command=report is wanted")
        try:
            asked = parse(await request.read())
        except UnreadableRequest as error:
            return refuse(400, "unreadable", str(error))
        if command == "allow":
            return reply(judge(asked))
        recorder.add("sekimori_enforce_reports_total", 1, _word(asked.success), _word(asked.policy_reject))
        on_report(asked)
        return reply(REPORTED)

    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def serve_http(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Serves ``app`` until ``cleanup`` of what is returned; port 0 takes a free one. Raises OSError."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=False, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


def _word(flag: bool) -> str:
    return "true" if flag else "false"
