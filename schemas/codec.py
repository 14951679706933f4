"""Messages to bytes and back. A frame is one message that holds many records, separated by LF.

Here, and for headers in ``schemas.origin``, bytes of others become values. Whatever they hold, they are such a message
or a DecodeError, and what was decoded can be encoded, compared and told the time of.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from schemas.dead_letter import DeadLetter
from schemas.enforcement import Decision
from schemas.event import Event
from schemas.setting import Setting
from schemas.tally import Tally

T = TypeVar("T")

_ENCODER = msgspec.json.Encoder()
_TALLIES = msgspec.json.Decoder(Tally)
_EVENTS = msgspec.json.Decoder(Event)
_DECISION = msgspec.json.Decoder(Decision)
_SETTING = msgspec.json.Decoder(Setting)
_DEAD_LETTER = msgspec.json.Decoder(DeadLetter)

Message = Event | Tally | Decision | Setting | DeadLetter


MAX_REASON: Final = 300
"""Characters of a DecodeError."""
MAX_DEPTH: Final = 16
"""Lists and objects within each other, in the parameters of a decision."""


class DecodeError(ValueError):
    """Bytes that are not such a message. ``str()`` of it says where and why, in ``MAX_REASON`` characters at most."""

    def __init__(self, why: str) -> None:
        super().__init__(why[:MAX_REASON])


def encode(message: Message) -> bytes:
    """One record as JSON, without a line feed."""
    return _ENCODER.encode(message)


def encode_frame(messages: Iterable[Message]) -> bytes:
    """Records as JSON lines."""
    return _ENCODER.encode_lines(list(messages))


def decode_tallies(frame: bytes) -> list[Tally]:
    """A frame of ``tallies``. Raises DecodeError."""
    return decoded(_TALLIES.decode_lines, frame)


def decode_events(frame: bytes) -> list[Event]:
    """A frame of ``events``. Raises DecodeError."""
    events = decoded(_EVENTS.decode_lines, frame)
    for event in events:
        _check_time(event.time, "the time of an event")
    return events


def decode_decision(value: bytes) -> Decision:
    """A message of ``enforcement``. Raises DecodeError."""
    decision = decoded(_DECISION.decode, value)
    _check_time(decision.issued_at, "issued_at")
    _check_time(decision.expires_at, "expires_at")
    _check_depth(decision.parameters)
    return decision


def decode_setting(value: bytes) -> Setting:
    """A message of ``settings``. Raises DecodeError."""
    setting = decoded(_SETTING.decode, value)
    _check_time(setting.issued_at, "issued_at")
    if setting.expires_at is not None:
        _check_time(setting.expires_at, "expires_at")
    return setting


def decode_dead_letters(frame: bytes) -> list[DeadLetter]:
    """A frame of ``dead-letters``. Raises DecodeError."""
    letters = decoded(_DEAD_LETTER.decode_lines, frame)
    for letter in letters:
        _check_time(letter.time, "the time of a dead letter")
    return letters


def decode_text(value: bytes | None, what: str) -> str:
    """A key or the value of a header, None as "". Raises DecodeError, which calls it ``what``."""
    try:
        return (value or b"").decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"{what} is not UTF-8: {error.reason} at byte {error.start}") from None


def decoded(decode: Callable[[bytes], T], value: bytes) -> T:
    """``decode(value)`` by msgspec. Whatever it raises for strange bytes becomes a DecodeError: it knows errors of its
    own for most, but not for JSON that is nested deeply, nor for numbers of thousands of digits."""
    try:
        return decode(value)
    except RecursionError:
        raise DecodeError("JSON is malformed: it is nested too deeply") from None
    except (msgspec.DecodeError, ValueError, ArithmeticError) as error:
        raise DecodeError(str(error)) from None


def _check_time(time: datetime, what: str) -> None:
    if time.tzinfo is UTC:
        return
    if time.tzinfo is None:
        raise DecodeError(f"{what} has no zone")
    try:
        time.astimezone(UTC)
    except OverflowError:
        raise DecodeError(f"{what} is out of range: in UTC it lies outside the years 1 to 9999") from None


def _check_depth(parameters: dict[str, Any]) -> None:
    level: list[Any] = list(parameters.values())
    for _ in range(MAX_DEPTH):
        level = [v for some in level if isinstance(some, list | dict) for v in _values(some)]
        if not level:
            return
    raise DecodeError(f"parameters are nested more than {MAX_DEPTH} levels deep")


def _values(some: list[Any] | dict[str, Any]) -> Iterable[Any]:
    return some.values() if isinstance(some, dict) else some
