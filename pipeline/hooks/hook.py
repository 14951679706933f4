"""What a hook is: what a mail server's request is answered with, how requests reach it, which options serve it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from pipeline.enforce.limiter import Limiter
from pipeline.enforce.table import DecisionTable, Purpose
from pipeline.metrics import Recorder
from pipeline.networks import CountryOf, no_country
from pipeline.settings import Settings
from schemas.kinds import Action

Obeys = Mapping[Purpose, Mapping[Action, str]]
"""What a hook does for a decision: what it is asked for -> the action -> what becomes of a client, in words for
operators. What is not there it does not obey."""


class UnreadableRequest(ValueError):
    """It is no request of this hook's. A line hook closes the connection, an HTTP hook answers 400."""


class RequestTooLong(ValueError):
    """It has more bytes than the hook's ``longest``. A line hook closes the connection, an HTTP hook answers 413."""


class NoSuchRequest(LookupError):
    """HTTP only: another method, path or command is wanted, as the message says. It is answered with 404."""


class Answer(Protocol):
    """What is sent back. ``outcome``: in one word for the metrics, "" for what is not to be counted."""

    @property
    def outcome(self) -> str:
        """See above."""

    def encode(self) -> bytes:
        """The bytes to send; of an HTTP hook the body, which is JSON."""


def refusal_of(error: Exception) -> str:
    """Why a request is refused, in one word for the metrics."""
    words = {UnreadableRequest: "unreadable", RequestTooLong: "too_long", NoSuchRequest: "command"}
    return words.get(type(error), "failed")


@dataclass(frozen=True)
class Context:
    """What an agent answers from. ``flags``: the options given that are no addresses, such as ``--disconnect``."""

    table: DecisionTable
    limiter: Limiter
    recorder: Recorder
    country_of: CountryOf = no_country
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Option:
    """An option of ``sekimori run enforce``: ``address`` (host:port) and ``path`` (of a UNIX socket) are where the
    hook is served, a ``flag`` changes its answers."""

    name: str
    kind: Literal["address", "path", "flag"]
    help: str


@dataclass(frozen=True)
class LineHook:
    """Requests over TCP or a UNIX socket, one after another on a connection.

    ``answer(request, context, now)``: ``request`` without its ``end``, at most ``longest`` bytes; ``now`` in seconds
    since 1970 UTC. It raises UnreadableRequest. ``name``: as in the metrics. ``obeys``: see ``Obeys``. ``go_on``: the
    answer that restricts nobody, without which the hook cannot run in shadow.
    """

    name: str
    options: tuple[Option, ...]
    answer: Callable[[bytes, Context, float], Answer]
    obeys: Obeys = field(default_factory=dict)
    go_on: Answer | None = None
    end: bytes = b"\n\n"
    longest: int = 65_536


class HttpRequest(NamedTuple):
    """``method`` in capitals, ``path`` with its ``/``; of a name that comes twice in the ``query`` the first value."""

    method: str
    path: str
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class HttpHook:
    """Requests over HTTP; answers are JSON with status 200.

    ``answer(request, context, now)`` as of a LineHook; it raises UnreadableRequest and NoSuchRequest. ``api_key``:
    what a request must bring as ``X-API-Key`` or as the password of Basic authentication, by the settings; "" for
    nothing. ``keyless``: the flag that lets other hosts ask without a key; "": they always may.
    """

    name: str
    options: tuple[Option, ...]
    answer: Callable[[HttpRequest, Context, float], Answer]
    obeys: Obeys = field(default_factory=dict)
    go_on: Answer | None = None
    api_key: Callable[[Settings], str] = lambda _: ""
    keyless: str = ""
    longest: int = 65_536


Hook = LineHook | HttpHook
