"""Serves hooks at the addresses that the options of ``sekimori run enforce`` give them."""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, Self

import structlog

from pipeline.adapters.agent.http_server import hook_app
from pipeline.adapters.agent.line_server import LineServer
from pipeline.adapters.agent.sockets import SocketAccess
from pipeline.adapters.connections import Connections
from pipeline.adapters.http import host_port, serve_http
from pipeline.hooks.hook import Context, Hook, HttpHook, LineHook
from pipeline.hooks.shadow import in_shadow
from pipeline.settings import Settings

SHADOW: Final = "--shadow"
"""The flag: nobody is restricted, and what would have been answered is logged and counted."""

_log = structlog.get_logger()

Given = Mapping[str, str | Path | bool]
"""Option, such as ``--policy`` -> what it was given; options that were not are left out."""


def flags_of(given: Given) -> frozenset[str]:
    """The options that are no addresses, for ``Context.flags``."""
    return frozenset(name for name, value in given.items() if value is True)


def _tell(hook: str, outcome: str, answer: bytes) -> None:
    _log.info("would_answer", hook=hook, outcome=outcome, answer=answer.decode("utf-8", "backslashreplace")[:600])


class HookServers(AsyncExitStack):
    """Listens until it is closed. ``access``: to UNIX sockets."""

    def __init__(
        self,
        context: Context,
        clock: Callable[[], float],
        settings: Settings,
        connections: Connections,
        access: SocketAccess | None = None,
    ) -> None:
        super().__init__()
        self._context, self._clock, self._settings, self._connections = context, clock, settings, connections
        self._access = access
        self._lines = LineServer(context, clock, connections)

    async def __aenter__(self) -> Self:
        self.push_async_callback(self._lines.close)
        return await super().__aenter__()

    async def serve(self, hooks: Iterable[Hook], given: Given) -> None:
        """Each wherever its options say; nowhere if they say nothing of it. Raises OSError, ValueError."""
        for hook in hooks:
            for option in hook.options:
                if option.kind != "flag" and option.name in given:
                    await self._serve(hook, given[option.name])

    async def _serve(self, hook: Hook, place: str | Path | bool) -> None:
        if SHADOW in self._context.flags:
            hook = in_shadow(hook, _tell)
        if not isinstance(hook, LineHook):
            key, (host, port) = hook.api_key(self._settings), host_port(str(place))
            if not key and hook.keyless:
                self._check_keyless(hook, host)
            app = hook_app(hook, self._context, self._clock, key)
            self.push_async_callback((await serve_http(app, host, port, self._connections, hook.name)).cleanup)
        elif isinstance(place, Path):
            await self._lines.listen_unix(hook, place, self._access)
        else:
            await self._lines.listen_tcp(hook, *host_port(str(place)))

    def _check_keyless(self, hook: HttpHook, host: str) -> None:
        """Whoever may ask learns who is restricted, and may report logins that never were. Raises ValueError."""
        setting = f"SEKIMORI_{hook.name.upper()}_API_KEY"
        if not _is_loopback(host) and hook.keyless not in self._context.flags:
            raise ValueError(
                f"{hook.name} at {host}: without a key every host could ask who is restricted; set {setting} here and "
                f"in the mail server, or give {hook.keyless}"
            )
        _log.warning("no_api_key", hook=hook.name, address=host, who_may_ask="everybody who reaches it", next=setting)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
