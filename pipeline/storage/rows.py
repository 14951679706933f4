"""Messages as rows of the analytical store: which column holds which field, the same for every engine.

A column has the name of its field, but where ``RENAMED`` says otherwise. Times have two columns where parts of a
second matter. Missing text is "", missing numbers are 0; what a column cannot hold becomes the nearest that it can.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import astuple

from schemas.dead_letter import DeadLetter
from schemas.enforcement import Decision
from schemas.event import Event

Columns = dict[str, list[Any]]

# Columns that are no field of the message: where it was read, and the part of its time that DateTime leaves out.
PLACE = ("source", "frame", "record")
MILLISECONDS = "milliseconds"
RENAMED: dict[str, str] = {"offset": "frame", "index": "record"}

LATEST = 4_102_444_800  # the year 2100, before the calendar of old servers ends
UINT16, UINT32, INT64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 63) - 1
LARGEST = 1 << 48  # bytes: sums of what nobody can send must not overflow

_EVENT_FIELDS = tuple(field.name for field in msgspec.structs.fields(Event))
_DECISION_TEXTS = ("id", "subject_kind", "subject", "action", "scope", "mode", "rule", "reason", "actor")
_JSON = msgspec.json.Encoder(order="sorted")


def event_columns(frames: Iterable[tuple[str, int, Sequence[Event]]]) -> Columns:
    """(source, offset, events) of whole raw frames -> columns of ``events``."""
    fields: dict[str, list[Any]] = {name: [] for name in _EVENT_FIELDS}
    sources: list[str] = []
    offsets: list[int] = []
    records: list[int] = []
    for source, offset, events in frames:
        # A frame at a time, while the processor still knows it.
        for values, added in zip(fields.values(), zip(*map(astuple, events), strict=True), strict=False):
            values.extend(added)
        sources += [source] * len(events)
        offsets += [offset] * len(events)
        records += range(len(events))
    times: list[datetime] = fields.pop("time")
    columns: Columns = {
        "time": _seconds(times),
        MILLISECONDS: [time.microsecond // 1000 for time in times],
        "nrcpt": _within(UINT32, [number or 0 for number in fields.pop("nrcpt")]),
        "size": _within(LARGEST, [number or 0 for number in fields.pop("size")]),
        "count": _within(UINT32, fields.pop("count")),
    }
    for name, texts in fields.items():
        columns[name] = [text or "" for text in texts]
    return columns | dict(zip(PLACE, (sources, _within(INT64, offsets), records), strict=True))


def decision_columns(decisions: Sequence[Decision]) -> Columns:
    """Columns of ``decisions``. Those of ``evidence`` are columns of their own, ``parameters`` is JSON."""
    columns: Columns = {name: [getattr(d, name) for d in decisions] for name in _DECISION_TEXTS}
    columns |= {name: [getattr(d.evidence, name) for d in decisions] for name in ("metric", "observed", "threshold")}
    columns |= {name: [list(getattr(d.evidence, name)) for d in decisions] for name in ("queue_ids", "lines")}
    return columns | {
        "rule_version": _within(UINT32, [d.rule_version for d in decisions]),
        "issued_at": _seconds([d.issued_at for d in decisions]),
        "expires_at": _seconds([d.expires_at for d in decisions]),
        "protocols": [list(d.protocols) for d in decisions],
        "window": _within(UINT32, [d.evidence.window for d in decisions]),
        "parameters": [_JSON.encode(d.parameters).decode() for d in decisions],
        "schema": _within(UINT16, [d.schema for d in decisions]),
    }


def dead_letter_columns(letters: Sequence[DeadLetter]) -> Columns:
    """Columns of ``dead_letters``."""
    return {
        "source": [letter.source for letter in letters],
        "frame": _within(INT64, [letter.offset for letter in letters]),
        "record": _within(UINT32, [letter.index for letter in letters]),
        "reason": [letter.reason for letter in letters],
        "raw": [letter.raw for letter in letters],
        "time": _seconds([letter.time for letter in letters]),
        "schema": _within(UINT16, [letter.schema for letter in letters]),
    }


class Release(msgspec.Struct, frozen=True):
    """A decision lifted before its time: a tombstone of ``enforcement``. ``position``: its offset there."""

    time: datetime
    subject_kind: str
    rule: str
    subject: str
    actor: str
    note: str
    position: int


def release_columns(releases: Sequence[Release]) -> Columns:
    """Columns of ``releases``."""
    names = ("subject_kind", "rule", "subject", "actor", "note", "position")
    columns: Columns = {name: [getattr(release, name) for release in releases] for name in names}
    return columns | {"time": _seconds([release.time for release in releases])}


def _seconds(times: Iterable[datetime]) -> list[int]:
    found: list[int] = []
    last, seconds = None, 0
    for time in times:
        if time != last:  # lines of one second come together
            last, seconds = time, int(time.timestamp())
        found.append(seconds)
    return _within(LATEST, found)


def _within(top: int, values: list[int]) -> list[int]:
    if values and (min(values) < 0 or max(values) > top):
        return [min(max(value, 0), top) for value in values]
    return values
