"""Which frames are still to be stored."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.storage.rows import event_columns
from pipeline.storage.storing import EventFrame, unstored
from schemas.event import Event

AT = datetime(2026, 11, 30, 23, 59, 58, tzinfo=UTC)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3), st.integers(0, 4)), max_size=8, unique_by=str),
    st.dictionaries(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3)), st.integers(0, 4)),
)
def test_frames_that_are_there_whole_are_left_out(
    places: list[tuple[str, int, int]], known: dict[tuple[str, int], int]
) -> None:
    frames = [
        EventFrame(source, number, [Event("submission", AT + timedelta(seconds=n), "mx", "qmgr") for n in range(size)])
        for source, number, size in places
    ]
    missing, months = [], set()
    for frame in frames:
        there = known.get((frame.source, frame.offset))
        if there is None or there < len(frame.events):
            missing.append((frame.source, frame.offset, frame.events))
            if there is not None:  # something of it may be there
                months |= {f"{event.time:%Y%m}" for event in frame.events}
    rows = unstored(frames, known)
    assert rows.columns == event_columns(missing)
    assert rows.number == sum(len(events) for _, _, events in missing)
    assert set(rows.months) == months
