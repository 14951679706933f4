"""Carries an HTTP hook (``pipeline.hooks.hook.HttpHook``) to and fro.

Errors have an HTTP status that is not 2xx: Dovecot then goes on (``auth_policy_reject_on_fail = no``, its default).
"""

import hmac
from collections.abc import Callable

import structlog
from aiohttp import web

from pipeline.hooks.hook import Context, HttpHook, HttpRequest, NoSuchRequest, UnreadableRequest

_log = structlog.get_logger()


def hook_app(hook: HttpHook, context: Context, clock: Callable[[], float], api_key: str = "") -> web.Application:
    """Any method and path reach the hook. With an ``api_key`` requests must bring it as ``X-API-Key``.

    ``clock``: seconds since 1970 UTC.
    """

    def refuse(status: int, why: str, detail: str) -> web.Response:
        _log.warning("request_refused", hook=hook.name, why=why, detail=detail)
        context.recorder.add("sekimori_enforce_refused_requests_total", 1, hook.name, why)
        return web.json_response({"status": "failure", "reason": detail}, status=status)

    async def handle(request: web.Request) -> web.Response:
        if api_key and not hmac.compare_digest(request.headers.get("X-API-Key", "").encode(), api_key.encode()):
            return refuse(401, "api_key", "X-API-Key is missing or wrong")
        asked = HttpRequest(request.method, request.path, dict(request.query), await request.read())
        try:
            answer = hook.answer(asked, context, clock())
        except NoSuchRequest as error:
            return refuse(404, "command", str(error))
        except UnreadableRequest as error:
            return refuse(400, "unreadable", str(error))
        if answer.outcome:
            context.recorder.add("sekimori_enforce_requests_total", 1, hook.name, answer.outcome)
        return web.Response(body=answer.encode(), content_type="application/json")

    app = web.Application(client_max_size=hook.longest)
    app.router.add_route("*", "/{path:.*}", handle)
    return app
