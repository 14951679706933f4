"""Asks a running agent what is in force, as ``operators`` answers it. What comes is checked: another program may listen
there."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from pipeline.enforce.asked import Asked, End, Greeting, Listed, Part
from schemas.codec import DecodeError, decoded
from schemas.setting import Setting

T = TypeVar("T")

STALE: Final = 10.0
"""Seconds without Kafka after which what an agent knows is old; a living one hears it every second."""
_CLOSED: Final = "it closes the connection: too many ask it at once, or it is no agent; its log says why"
_PATIENCE: Final = 5.0
_MOST_SECONDS: Final = 120.0
_LONGEST: Final = 1 << 24  # bytes of a line
_CHUNK: Final = 1 << 18
_GREETING = msgspec.json.Decoder(Greeting)
_MORE = msgspec.json.Decoder(Part | End)


class AgentSilent(ConnectionError):
    """No agent answers there, or what answers is none; the message says why."""


class AgentAnswer(msgspec.Struct):
    """What was asked for, each key once, and the allowlist. ``known``: decisions that are not over, whatever was
    asked."""

    greeting: Greeting
    listed: dict[str, Listed] = {}
    allow: list[Setting] = []
    known: int = 0

    @property
    def age(self) -> float | None:
        """Seconds since the agent heard Kafka; None if it never did."""
        age = self.greeting.health.get("table_age_seconds")
        return float(age) if isinstance(age, int | float) else None

    @property
    def why_old(self) -> str:
        """Why it may lack what Kafka has; "" if it does not."""
        if self.age is None or not self.greeting.health.get("ready"):
            return "has not read Kafka since it was started"
        return f"has not heard Kafka for {self.age:.0f} s" if self.age > STALE else ""


def ask(path: Path, asked: Asked) -> AgentAnswer:
    """Raises AgentSilent."""
    try:
        for _ in range(3):
            answer = _ask(path, asked)
            if answer is not None:
                return answer
    except DecodeError as error:
        raise AgentSilent(f"what answers is no agent: {error}") from None
    except TimeoutError:
        raise AgentSilent("it does not answer in time") from None
    except (BrokenPipeError, ConnectionResetError):
        raise AgentSilent(_CLOSED) from None
    except OSError as error:
        raise AgentSilent(error.strerror or str(error)) from None
    raise AgentSilent("it reads Kafka anew again and again")


def _ask(path: Path, asked: Asked) -> AgentAnswer | None:
    """None if the agent's table was replaced meanwhile. Raises DecodeError, OSError."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
        connection.settimeout(_PATIENCE)
        connection.connect(str(path))
        connection.sendall(msgspec.json.encode(asked) + b"\n")
        lines = _lines(connection)
        answer = AgentAnswer(_told(_GREETING, next(lines, b"")))
        for line in lines:
            told = _told(_MORE, line)
            if isinstance(told, End):
                answer.known = told.known
                return answer if told.whole else None
            answer.listed.update((one.key, one) for one in told.listed)  # what was renewed meanwhile comes again
            answer.allow += told.allow
    raise AgentSilent("it broke off in the middle")


def _told(decoder: "msgspec.json.Decoder[T]", line: bytes) -> T:
    if not line:
        raise AgentSilent(_CLOSED)
    return decoded(decoder.decode, line)


def _lines(connection: socket.socket) -> Iterator[bytes]:
    """Raises TimeoutError, DecodeError (a line without an end)."""
    until, rest = time.monotonic() + _MOST_SECONDS, b""
    while chunk := connection.recv(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
        if len(rest) > _LONGEST:
            raise DecodeError("a line has no end")
        if time.monotonic() > until:
            raise TimeoutError
