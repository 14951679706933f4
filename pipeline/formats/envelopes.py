"""What shippers wrap around a line: JSON objects that name time, host, program and message."""

import msgspec

_OBJECT = msgspec.json.Decoder(dict[str, object])


def decode_object(line: str) -> dict[str, object] | None:
    """The JSON object of a line; ``None`` if it is none."""
    try:
        return _OBJECT.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None
