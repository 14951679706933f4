"""Carries an HTTP hook (``pipeline.hooks.hook.HttpHook``) to and fro.

Errors have an HTTP status that is not 2xx: Dovecot then goes on (``auth_policy_reject_on_fail = no``, its default).
"""

import binascii
import hmac
import zlib
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp
import structlog
from aiohttp import web

from pipeline.hooks.hook import Context, HttpHook, HttpRequest, RequestTooLong, UnreadableRequest, refusal_of

_log = structlog.get_logger()

_STATUS: Final = {"api_key": 401, "command": 404, "unreadable": 400, "too_long": 413, "failed": 500}
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="sekimori"'}


def hook_app(hook: HttpHook, context: Context, clock: Callable[[], float], api_key: str = "") -> web.Application:
    """Any method and path reach the hook. With an ``api_key`` requests must bring it as ``X-API-Key``, or as the
    password of Basic authentication with any user.

    ``clock``: seconds since 1970 UTC.
    """

    def refuse(why: str, detail: str) -> web.Response:
        _log.warning("request_refused", hook=hook.name, why=why, detail=detail)
        context.recorder.add("sekimori_enforce_refused_requests_total", 1, hook.name, why)
        headers = _CHALLENGE if why == "api_key" else None
        return web.json_response({"status": "failure", "reason": detail}, status=_STATUS[why], headers=headers)

    async def handle(request: web.Request) -> web.Response:
        if api_key and not _is_known(request.headers, api_key.encode()):
            return refuse("api_key", "X-API-Key, or the password of Basic authentication, is missing or wrong")
        try:
            body = await _body(request, hook.longest)
            asked = HttpRequest(request.method, request.path, dict(request.query), body)
            answer = hook.answer(asked, context, clock())
        except Exception as error:  # noqa: BLE001  # whatever fails, it is told in one line, and the next one is served
            return refuse(refusal_of(error), str(error) or repr(error))
        if answer.outcome:
            context.recorder.add("sekimori_enforce_requests_total", 1, hook.name, answer.outcome)
        return web.Response(body=answer.encode(), content_type="application/json")

    app = web.Application(client_max_size=hook.longest + 1)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


def _is_known(headers: Mapping[str, str], key: bytes) -> bool:
    """Bytes of a header that are no UTF-8 are given as surrogates."""
    given = headers.get("X-API-Key", "").encode("utf-8", "surrogateescape")
    method, _, credentials = headers.get("Authorization", "").partition(" ")
    password = b""
    if method.lower() == "basic":
        try:
            password = b64decode(credentials.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            password = b""
    return hmac.compare_digest(given, key) | hmac.compare_digest(password, key)


async def _body(request: web.Request, longest: int) -> bytes:
    """Raises RequestTooLong, UnreadableRequest (its encoding is broken)."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise RequestTooLong(f"a request has at most {longest} bytes") from None
    except (web.RequestPayloadError, aiohttp.ClientPayloadError, aiohttp.http.HttpProcessingError, zlib.error) as error:
        raise UnreadableRequest(f"the body cannot be read: {error}") from None
