"""JSON objects that hold many records: OpenTelemetry's, Loki's, those of AWS, and arrays of objects (Fluent Bit).

They are taken apart where frames are split into lines, so that each record is a line of its own.
"""

from collections.abc import Iterator, Mapping

import msgspec

_DECODER = msgspec.json.Decoder()
_ENCODE = msgspec.json.Encoder().encode
_MARKS = ('"resourceLogs"', '"streams"', '"logEvents"', '"result"')
BATCHES = frozenset(("resourceLogs", "streams", "data", "logEvents"))
"""Names that an object has which holds many records."""
_VALUES = ("stringValue", "intValue", "doubleValue", "boolValue", "bytesValue")
_DEEPEST = 8  # values within values of OpenTelemetry

Fields = dict[str, object]


def has_batches(text: str) -> bool:
    """Whether one may stand in this text. Most texts have no brace at all."""
    return "{" in text and ("[{" in text or any(mark in text for mark in _MARKS))


def taken_apart(line: str) -> list[str]:
    """The records of a line that holds many, each as a line; any other line as it is."""
    if not line.startswith(("{", "[{")) or not (line.startswith("[") or any(mark in line for mark in _MARKS)):
        return [line]
    try:
        decoded = _DECODER.decode(line)
        found = records(decoded)
        return [line] if found is None else [_ENCODE(record).decode() for record in found] or [line]
    except (msgspec.DecodeError, RecursionError):
        return [line]


def records(decoded: object) -> list[Fields] | None:
    """The records of a batch, flat; ``None`` if it is none."""
    if isinstance(decoded, list):
        found = [each for each in decoded if isinstance(each, dict)]
        return found if found and len(found) == len(decoded) else None
    if not isinstance(decoded, dict):
        return None
    if isinstance(decoded.get("resourceLogs"), list):
        return list(_of_opentelemetry(decoded["resourceLogs"]))
    data = decoded.get("data")
    streams = data.get("result") if isinstance(data, dict) else decoded.get("streams")
    if isinstance(streams, list):
        return list(_of_loki(streams))
    if isinstance(decoded.get("logEvents"), list):
        return _objects(decoded["logEvents"])
    return None


def _objects(value: object) -> list[Fields]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _of_opentelemetry(resources: object) -> Iterator[Fields]:
    """OTLP's JSON: attributes of the resource and of the record, time and body as fields of one object."""
    for resource in _objects(resources):
        described = resource.get("resource")
        shared = _attributes(described.get("attributes")) if isinstance(described, dict) else {}
        for scope in _objects(resource.get("scopeLogs")) or _objects(resource.get("instrumentationLibraryLogs")):
            for record in _objects(scope.get("logRecords")):
                fields = shared | _attributes(record.get("attributes"))
                fields |= {name: record[name] for name in ("timeUnixNano", "observedTimeUnixNano") if record.get(name)}
                body = _any_value(record.get("body"))
                yield fields | (body if isinstance(body, dict) else {"body": body})


def _attributes(pairs: object, depth: int = 0) -> Fields:
    return {str(pair["key"]): _any_value(pair.get("value"), depth) for pair in _objects(pairs) if "key" in pair}


def _any_value(value: object, depth: int = 0) -> object:
    """What OpenTelemetry calls AnyValue."""
    if not isinstance(value, dict) or depth > _DEEPEST:
        return None
    pairs, values = value.get("kvlistValue"), value.get("arrayValue")
    if isinstance(pairs, dict):
        return _attributes(pairs.get("values"), depth + 1)
    if isinstance(values, dict):
        return [_any_value(each, depth + 1) for each in _objects(values.get("values"))]
    return next((value[name] for name in _VALUES if name in value), None)


def _of_loki(streams: object) -> Iterator[Fields]:
    """What is pushed to Loki, or asked of it: labels, and pairs of nanoseconds and line."""
    for stream in _objects(streams):
        labels: Mapping[str, object] = {}
        told = stream.get("stream")
        if isinstance(told, dict):
            labels = told
        values = stream.get("values")
        for value in values if isinstance(values, list) else []:
            if isinstance(value, list) and len(value) > 1 and isinstance(value[1], str):
                yield {**labels, "ts": value[0], "line": value[1]}
