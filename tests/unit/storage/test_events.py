"""Events that come back from the store are what they were."""

from datetime import UTC, datetime, timedelta

import msgspec
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.storage.events import events_of, frames_of
from pipeline.storage.rows import event_columns
from schemas import event
from schemas.event import Event

AT = datetime(2026, 11, 24, 1, 50, 43, tzinfo=UTC)
TEXTS = st.none() | st.text(min_size=1, max_size=8)
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(["submission", "delivery", "auth_failure", "auth_success", "reject", "connect", "other"]),
    time=st.integers(0, 10**10).map(lambda ms: datetime(1990, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)),
    host=st.text(max_size=8),
    program=st.text(max_size=8),
    nrcpt=st.none() | st.integers(1, 2**32 - 1),
    size=st.none() | st.integers(1, 2**40),
    count=st.integers(0, 2**32 - 1),
    **{
        field.name: TEXTS
        for field in msgspec.structs.fields(Event)
        if field.name not in ("kind", "time", "host", "program", "nrcpt", "size", "count")
    },
)


@settings(max_examples=50)
@given(st.lists(EVENTS, max_size=5))
def test_columns_and_back(events: list[Event]) -> None:
    assert events_of(event_columns([("maillog-0", 7, events)])) == events


def test_columns_that_are_missing_are_fields_that_are_missing() -> None:
    columns = event_columns([("maillog-0", 7, event.EXAMPLES)])
    few = {name: columns[name] for name in ("kind", "time", "milliseconds", "account")}
    assert events_of(few) == [Event(e.kind, e.time, "", "", account=e.account) for e in event.EXAMPLES]


def test_frames_of_sources_are_merged_by_their_first_event_each_source_in_its_order() -> None:
    def made(second: int) -> Event:
        return Event("submission", AT + timedelta(seconds=second), "mx", "qmgr")

    a1, a2, b1, b2 = [made(5), made(9)], [made(2)], [made(1), made(30)], [made(6)]
    rows = pd.DataFrame(event_columns([("a", 7, a1), ("a", 8, a2), ("b", 1, b1), ("b", 2, b2)]))
    assert frames_of(rows) == [b1, a1, a2, b2]
    assert frames_of(rows.iloc[:0]) == []


def test_ties_go_by_the_name_of_the_file_that_was_loaded() -> None:
    frames = [[Event("submission", AT, "mx", program)] for program in ("a", "b", "c")]
    rows = pd.DataFrame(event_columns((f"file:{number}", 0, frame) for number, frame in enumerate(frames)))
    assert frames_of(rows) == frames
    names = {"file:0": "mail.log", "file:2": "dovecot.log"}
    assert frames_of(rows, names) == [frames[2], frames[1], frames[0]]
