"""Stamps of hosts whose clock is wrong are moved; all others are left alone."""

from datetime import UTC, datetime, timedelta
from itertools import accumulate
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from pipeline.networks import OurHosts
from pipeline.normalize.clocks import NOTHING, PROVEN, QUARTER, TOLERANCE, Clocks, Moved
from pipeline.normalize.normalizer import Normalizer
from schemas.event import Event

NOW = 1_795_485_000.0
HOUR = 3600.0
SKEWS = st.one_of(st.floats(TOLERANCE + 60, 20 * HOUR), st.sampled_from([k * 900.0 for k in range(1, 56)]))


def event(at: float, host: str = "mx1") -> Event:
    return Event(kind="auth_failure", time=datetime.fromtimestamp(at, UTC), host=host, program="auth")


def hold(clocks: Clocks, events: list[Event], reference: float, live: bool = True) -> Moved:
    return clocks.hold(events, max(event.time for event in events), reference, live)


def held(clocks: Clocks, at: float, reference: float, live: bool = True, host: str = "mx1") -> float:
    """What the time of one line becomes."""
    (one,) = events = [event(at, host)]
    hold(clocks, events, reference, live)
    return one.time.timestamp()


@given(st.lists(st.tuples(st.floats(0, 86_400), st.floats(-5, 5), st.sampled_from("ab")), max_size=60), st.booleans())
def test_right_clocks_are_left_alone_however_old_the_lines(steps: list[tuple[float, float, str]], live: bool) -> None:
    """A backlog that shrinks or grows by any amount; the distance changes from frame to frame."""
    clocks, reference, before = Clocks(), NOW, -1.0
    for lag, jitter, host in steps:
        if abs(lag - before) < 2 * QUARTER:
            continue
        reference, before = reference + 30, lag
        at = reference - lag + jitter
        assert held(clocks, at, reference, live, host) == datetime.fromtimestamp(at, UTC).timestamp()
    assert clocks.wrong() == {}


@given(SKEWS, st.lists(st.floats(0, 100), min_size=1, max_size=40), st.floats(0, 10))
def test_a_host_that_is_ahead_is_counted_when_its_lines_arrive(skew: float, gaps: list[float], way: float) -> None:
    clocks, written, before = Clocks(), NOW, 0.0
    for gap in gaps:
        written += gap
        time = held(clocks, written + skew, written + way)
        assert abs(time - written) <= way + 1
        assert not before or abs((time - before) - gap) < 1e-3  # the lines keep their distances
        before = time
    assert clocks.wrong() == {"mx1": int(clocks.dump()["mx1"].ahead)}
    assert abs(clocks.wrong()["mx1"] - skew) <= way + 2
    assert held(clocks, written + 200, written + 200) == datetime.fromtimestamp(written + 200, UTC).timestamp()
    assert clocks.wrong() == {}, "it was set right"


def test_one_odd_line_does_not_move_its_neighbours() -> None:
    for live in (True, False):
        clocks = Clocks()
        events = [event(NOW - 2), event(NOW + 9 * HOUR, "imap1"), event(NOW - 1), event(NOW - 1, "imap1")]
        assert hold(clocks, events, NOW, live) == Moved(1, {"imap1": int(9 * HOUR)})
        assert all(abs(one.time.timestamp() - NOW) <= 2 for one in events)


def test_in_a_file_the_first_line_gets_the_time_of_the_next_one_that_can_be_right() -> None:
    events = [event(NOW + 9 * HOUR - 1800, "imap1"), event(NOW - 1800), event(NOW - 1799)]
    assert hold(Clocks(), events, NOW, live=False) == Moved(1, {"imap1": int(9 * HOUR - 1800)})
    assert events[0].time == events[1].time


def test_a_file_read_in_a_wrong_zone_keeps_its_times_and_that_is_told() -> None:
    """All of its last hours lie ahead of its last change, and nothing beside them says when they were written."""
    clocks, left = Clocks(), 0
    for minute in range(0, 18 * 60, 3):
        at = NOW - 9 * HOUR + minute * 60
        late = event(at - 300, "mx2")  # a server whose lines always come five minutes late
        events = [event(at), late, event(at + 1)]
        times = [one.time for one in events]
        moved = hold(clocks, events, NOW, live=False)
        assert [one.time for one in events] == times
        assert moved.lines == 0
        left += moved.left
    assert left > 500


@given(st.integers(1, 55), st.lists(st.floats(1, 60), min_size=60, max_size=60), st.floats(0, 20))
def test_a_host_behind_by_whole_quarters_is_brought_up_once_that_is_proven(
    quarters: int, gaps: list[float], way: float
) -> None:
    clocks, written, behind, proven = Clocks(), NOW, quarters * QUARTER, False
    for gap in gaps:
        written += gap
        time = held(clocks, written - behind, written + way)
        assert abs(time - (written if proven else written - behind)) < 1e-3
        proven = written - NOW - gaps[0] >= PROVEN
    if proven:
        assert clocks.wrong() == {"mx1": -behind}
        restarted = Clocks()
        restarted.load(clocks.dump())
        assert abs(held(restarted, written - behind - 7, written + way) - (written - 7)) < 1e-3
        assert abs(held(restarted, written + 200, written + 200) - (written + 200)) < 1e-3
        assert restarted.wrong() == {}, "its zone was set right"


def test_lines_that_were_not_sent_as_they_were_written_prove_nothing() -> None:
    clocks = Clocks()
    for minute in range(60):
        at = NOW + minute * 60
        assert held(clocks, at - 9 * HOUR, at, live=False) == at - 9 * HOUR


def test_a_queue_behind_a_quarter_is_told_from_a_zone_by_its_change() -> None:
    clocks, lag = Clocks(), 900.0
    for minute in range(120):
        at = NOW + minute * 60
        assert held(clocks, at - lag, at) == at - lag
        lag += 20  # a queue that grows by a third of a minute each minute


def test_nothing_moved_is_nothing() -> None:
    assert hold(Clocks(), [event(NOW)], NOW) is NOTHING


def test_hosts_are_bounded() -> None:
    clocks = Clocks()
    for number in range(10_000):
        held(clocks, NOW + 5 * HOUR, NOW, host=f"h{number}")
    assert len(clocks.dump()) <= 4096
    for number in range(10_000):
        events = [event(NOW + 5 * HOUR, f"h{number}"), event(NOW)]
        hold(clocks, events, NOW, live=False)
    assert len(clocks._odd) <= 4097


def test_a_distance_is_a_timedelta() -> None:
    events = [event(NOW + HOUR, "a"), event(NOW)]
    hold(Clocks(), events, NOW, live=False)
    assert events[0].time - events[1].time == timedelta(0)


# --- the hour that comes twice --------------------------------------------------------------------------------------


BERLIN = ZoneInfo("Europe/Berlin")
TURN = datetime(2026, 10, 25, 1, 0, tzinfo=UTC).timestamp()  # 03:00 becomes 02:00


def stamped(at: float) -> str:
    return f"{datetime.fromtimestamp(at, BERLIN):%b %d %H:%M:%S} mx1 postfix/pickup[7]: 4F0000: uid=0 from=<root>"


@given(st.lists(st.floats(1, 1500), min_size=5, max_size=60), st.integers(1, 50))
def test_in_a_file_the_order_of_lines_tells_which_time_of_a_repeated_hour_is_meant(
    gaps: list[float], size: int
) -> None:
    """Lines that are less than 25 minutes apart, read long after."""
    written = list(accumulate(map(int, gaps), initial=int(TURN) - 5000))
    normalizer = Normalizer(OurHosts(), BERLIN)
    for at in range(0, len(written), size):
        some = written[at : at + size]
        frame = "\n".join(map(stamped, some)).encode()
        events = normalizer.normalize(frame, TURN + 86_400, "mail.log", at).events
        assert [event.time.timestamp() for event in events] == some


@given(st.floats(-5000, 5000), st.floats(0, 20))
def test_lines_that_arrive_as_they_are_written_need_no_guess(at: float, way: float) -> None:
    written = int(TURN + at)
    (event,) = Normalizer(OurHosts(), BERLIN).normalize(stamped(written).encode(), written + way, "x", 0, True).events
    assert event.time.timestamp() == written
