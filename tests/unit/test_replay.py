"""The whole flow in memory, over log files as frames."""

import os
import random
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.files.logfile import named_frames
from pipeline.adapters.geoip import GeoFile
from pipeline.replay import NOWHEN, LineCounts, LogFrame, Normalizers, Replay, in_order
from pipeline.rules import RuleSet, build
from pipeline.rules.config import load
from schemas.enforcement import Decision
from tests.support.lines import ABROAD, frame, sent
from tests.support.paths import RECORDED

GEO = RECORDED / "geo.mmdb"
REFERENCE = 1_796_083_200.0  # 2026-12-01


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return build(load(None), "JP")


def test_a_replay_decides_and_measures(rules: RuleSet) -> None:
    flow = Replay(rules, lookup=lambda _: "BR")
    normalized, found = flow.feed(LogFrame("mail.log", frame(sent(20)), REFERENCE))
    assert [(d.rule, d.subject) for d in found] == [
        ("account_send_rate", "alice@x.example"),
        ("ip_accused", ABROAD),
    ]
    assert found[0].issued_at == datetime(2026, 11, 24, 1, 50, 43, tzinfo=UTC)
    assert found[0].evidence.lines[0].endswith("nrcpt=1 (queue active)")
    assert len(found[0].evidence.queue_ids) == 3
    assert flow.counts == normalized.counts == LineCounts(40, 40)


def test_sources_have_queue_ids_of_their_own(rules: RuleSet) -> None:
    flow = Replay(rules, lookup=lambda _: "BR")
    clients, queued = sent(20)[::2], sent(20)[1::2]
    assert flow.feed(LogFrame("one.log", frame(clients), REFERENCE))[1] == []
    assert flow.feed(LogFrame("other.log", frame(queued), REFERENCE))[1] == []
    assert len(flow.feed(LogFrame("one.log", frame(queued), REFERENCE))[1]) == 2


def test_the_time_of_a_frame_is_that_of_its_first_readable_line() -> None:
    def place(*lines: str, zone: tzinfo = UTC) -> int:
        return Normalizers(load(None).trusted, zone).normalize(LogFrame("mail.log", frame([*lines]), REFERENCE)).at

    lines = ["nothing", *sent(1, "2099-01-01T00:00:00Z"), *sent(1, "Nov 24 09:00:00"), *sent(1)]
    assert place(*lines) == datetime(2026, 11, 24, 9, tzinfo=UTC).timestamp() * 1000
    assert place(*lines, zone=ZoneInfo("Asia/Tokyo")) == datetime(2026, 11, 24, 0, tzinfo=UTC).timestamp() * 1000
    assert place("nothing", "at all") == NOWHEN
    assert place(*sent(1, "2026-11-24T01:50:43.123999Z")) % 100_000 == 43_123


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a.log", "b.log", "c.log"]), st.lists(st.integers(-1, 4), max_size=6)), max_size=5
    )
)
def test_items_are_merged_by_time_then_name_then_place(sources: list[tuple[str, list[int]]]) -> None:
    """Against the obvious: take, again and again, the first of all that come next."""
    waiting = [(name, place, list(times)) for place, (name, times) in enumerate(sources)]
    expected = []
    while left := [source for source in waiting if source[2]]:
        _, place, times = min(left, key=lambda source: (source[2][0], source[0], source[1]))
        expected.append((place, times.pop(0)))
    assert list(in_order([times for _, times in sources], [name for name, _ in sources], int)) == expected


def decided(files: list[Path]) -> list[Decision]:
    flow = Replay(build(load(None), "JP"), lookup=GeoFile(GEO))
    return [d for _, decisions in flow.run(named_frames(files)) for d in decisions]


@st.composite
def small_logs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Of accounts that are misused from a few networks at the same time, in several files; seconds may go back."""
    logs = {}
    for number in range(draw(st.integers(2, 4))):
        lines = []
        for n in range(draw(st.integers(1, 25))):
            time = f"Nov 24 01:50:{draw(st.integers(0, 9)):02d}"
            account, ip = draw(st.sampled_from("abc")), draw(st.sampled_from(["198.18.48.9", "198.18.64.9"]))
            burst = [line.replace("alice", account) for line in sent(draw(st.integers(1, 20)), time, ip)]
            lines += [line.replace(": 0000", f": {number}{n:03d}") for line in burst]
        logs[f"{'dbca'[number]}.log"] = lines
    return logs


@settings(max_examples=60)
@given(small_logs(), st.randoms(use_true_random=False))
def test_the_order_in_which_files_are_given_decides_nothing(
    tmp_path_factory: pytest.TempPathFactory, logs: dict[str, list[str]], chance: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    for name, lines in logs.items():
        (folder / name).write_bytes(frame(lines))
        os.utime(folder / name, (REFERENCE, REFERENCE))
    files = [folder / name for name in logs]
    expected = decided(files)
    chance.shuffle(files)
    assert decided(files) == expected


@pytest.mark.parametrize("kind", ["", ".stretched"])
def test_recorded_logs_are_decided_alike_in_either_order(kind: str) -> None:
    files = [RECORDED / f"mail{kind}.log", RECORDED / f"dovecot{kind}.log"]
    found = decided(files)
    assert len(found) > 50
    assert decided(files[::-1]) == found
