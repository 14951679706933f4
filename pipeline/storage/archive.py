"""What the analytical store keeps of the topics: a message in, what is to be stored out."""

from collections.abc import Callable, Sequence

from pipeline.metrics import Recorder
from pipeline.partition import unreadable
from pipeline.ports import Record
from pipeline.storage.rows import LATEST, Release
from pipeline.storage.sql import utc
from pipeline.storage.storing import EventFrame, Sink, Storable
from schemas.codec import decode_dead_letters, decode_decision, decode_events, decode_text
from schemas.enforcement import OVER, split_key
from schemas.origin import origin_of
from schemas.topics import DEAD_LETTERS, ENFORCEMENT, EVENTS, Topic

STORED: tuple[Topic, ...] = (EVENTS, DEAD_LETTERS, ENFORCEMENT)
MAX_NOTE = 1000  # characters


def messages_of(record: Record, why_not: str = "") -> Sequence[Storable]:
    """What is to be stored of a message. One that cannot be read becomes a dead letter, and so does one that is not
    obeyed: ``why_not``, "" if it is."""
    if why_not:
        return [unreadable(f"{record.topic}-{record.partition}", record, f"not obeyed: {why_not}")]
    try:
        if record.topic == ENFORCEMENT.name:
            if record.value is not None:
                return [decode_decision(record.value)]
            return [] if any(name == OVER for name, _ in record.headers) else [_release(record)]
        if record.value is None:
            return []
        if record.topic == DEAD_LETTERS.name:
            return decode_dead_letters(record.value)
        return [_frame(record, record.value)]
    except ValueError as error:
        return [unreadable(f"{record.topic}-{record.partition}", record, str(error))]


def _frame(record: Record, value: bytes) -> EventFrame:
    """By its headers; an event that somebody else has written is known by its own place."""
    frame, events = origin_of(record.headers), decode_events(value)
    if frame is None:
        return EventFrame(f"{record.topic}-{record.partition}", record.offset, events)
    return EventFrame(frame.source, frame.offset, events)


def _release(record: Record) -> Release:
    headers = {name: (value or b"").decode("utf-8", "backslashreplace")[:MAX_NOTE] for name, value in record.headers}
    kind, rule, subject = split_key(decode_text(record.key, "the key"))
    at = utc(min(max(record.timestamp_ms / 1000, 0), LATEST))
    return Release(at, kind, rule, subject, headers.get("actor", ""), headers.get("note", ""), record.offset)


class Archive:
    """Stores batches of messages, and measures. ``why_not``: why a message is not to be obeyed, "" if it is."""

    def __init__(self, sink: Sink, recorder: Recorder, why_not: Callable[[Record], str]) -> None:
        self._sink, self._why_not = sink, why_not
        self._recorder = recorder
        self._newest_ms = 0

    def take(self, record: Record) -> int:
        """Collects, and returns how many rows wait; nothing is written."""
        self._newest_ms = max(self._newest_ms, record.timestamp_ms)
        for message in messages_of(record, self._why_not(record)):
            self._sink.add(message)
        return self._sink.waiting

    def forget(self) -> None:
        """Drops what is not written, because it will come again."""
        self._sink.clear()

    def write(self, now: float) -> None:
        """Writes all that was taken. ``now``: seconds since 1970. Raises StoreUnavailable, StoreError."""
        written = self._sink.flush()
        for table, rows in written.rows.items():
            self._recorder.add("sekimori_store_rows_total", rows, table)
        self._recorder.add("sekimori_store_repeated_events_total", written.repeated)
        self._recorder.set("sekimori_store_message_age_seconds", max(0.0, now - self._newest_ms / 1000))
