"""Messages to bytes and back. A frame is one message that holds many records, separated by LF."""

from collections.abc import Callable, Iterable
from typing import TypeVar

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


class DecodeError(ValueError):
    """Bytes that are not such a message. ``str()`` of it says where and why."""


def encode(message: Message) -> bytes:
    """One record as JSON, without a line feed."""
    return _ENCODER.encode(message)


def encode_frame(messages: Iterable[Message]) -> bytes:
    """Records as JSON lines."""
    return _ENCODER.encode_lines(list(messages))


def decode_tallies(frame: bytes) -> list[Tally]:
    """A frame of ``tallies``. Raises DecodeError."""
    return _decode(_TALLIES.decode_lines, frame)


def decode_events(frame: bytes) -> list[Event]:
    """A frame of ``events``. Raises DecodeError."""
    return _decode(_EVENTS.decode_lines, frame)


def decode_decision(value: bytes) -> Decision:
    """A message of ``enforcement``. Raises DecodeError."""
    return _decode(_DECISION.decode, value)


def decode_setting(value: bytes) -> Setting:
    """A message of ``settings``. Raises DecodeError."""
    return _decode(_SETTING.decode, value)


def decode_dead_letters(frame: bytes) -> list[DeadLetter]:
    """A frame of ``dead-letters``. Raises DecodeError."""
    return _decode(_DEAD_LETTER.decode_lines, frame)


def _decode(decoder: Callable[[bytes], T], value: bytes) -> T:
    try:
        return decoder(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DecodeError(str(error)) from None
