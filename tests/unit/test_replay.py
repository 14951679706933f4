"""The whole flow in memory, over log files as frames."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.files.logfile import FileFrame, frames, merged
from pipeline.replay import Replay, first_time
from pipeline.rules import RuleSet, build
from pipeline.rules.config import load
from tests.support.lines import ABROAD, frame, sent
from tests.support.paths import RECORDED

GEO = RECORDED / "geo.mmdb"
REFERENCE = 1_796_083_200.0  # 2026-12-01


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return build(load(None), "JP")


def test_a_replay_decides_and_measures(rules: RuleSet) -> None:
    flow = Replay(rules, lookup=lambda _: "BR")
    found = list(flow.feed(frame(sent(20)), REFERENCE, "mail.log"))
    assert [(d.rule, d.subject) for d in found] == [
        ("account_send_rate", "alice@x.example"),
        ("ip_accused", ABROAD),
    ]
    assert found[0].issued_at == datetime(2026, 11, 24, 1, 50, 43, tzinfo=UTC)
    assert found[0].evidence.lines[0].endswith("nrcpt=1 (queue active)")
    assert len(found[0].evidence.queue_ids) == 3
    assert (flow.lines, flow.ignored, flow.unreadable) == (40, 0, 0)


def test_sources_have_queue_ids_of_their_own(rules: RuleSet) -> None:
    flow = Replay(rules, lookup=lambda _: "BR")
    clients, queued = sent(20)[::2], sent(20)[1::2]
    assert list(flow.feed(frame(clients), REFERENCE, "one.log")) == []
    assert list(flow.feed(frame(queued), REFERENCE, "other.log")) == []
    assert len(list(flow.feed(frame(queued), REFERENCE, "one.log"))) == 2


def test_the_time_of_a_frame_is_that_of_its_first_readable_line() -> None:
    lines = frame(["nothing", *sent(1, "Nov 24 09:00:00"), *sent(1)])
    assert first_time(lines, REFERENCE, UTC) == datetime(2026, 11, 24, 9, tzinfo=UTC).timestamp()
    tokyo = first_time(lines, REFERENCE, ZoneInfo("Asia/Tokyo"))
    assert tokyo == datetime(2026, 11, 24, 0, tzinfo=UTC).timestamp()
    assert first_time(b"nothing\nat all", REFERENCE, UTC) == float("-inf")


# --- files ----------------------------------------------------------------------------------------------------------


def lines_of(made: Iterator[FileFrame]) -> list[bytes]:
    return [line for f in made for line in f.content.split(b"\n")]


@settings(max_examples=40)
@given(
    st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").lstrip(b"\x1f")), max_size=20),
    st.integers(1, 64),
)
def test_frames_hold_all_lines_whole(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int) -> None:
    path = tmp_path_factory.getbasetemp() / "lines.log"
    for end in (b"", b"\n"):
        for write in (lambda data: data, gzip.compress):
            path.write_bytes(write(b"\n".join(lines) + end))
            assert [line for line in lines_of(frames(path, size)) if line] == [line for line in lines if line]


def test_gz_is_told_by_content_and_damage_is_said_after_what_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    content = b"".join(b"%d\n" % n for n in range(100_000))
    path.write_bytes(gzip.compress(content)[:-30])
    read: list[bytes] = []

    def read_all() -> None:
        for made in frames(path):
            read.extend(made.content.split(b"\n"))

    with pytest.raises(OSError, match=r"mail\.log: damaged gzip data: "):
        read_all()
    assert read[:3] == [b"0", b"1", b"2"]
    assert len(read) > 50_000


def test_a_line_without_an_end_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"x" * 3_000_000)
    made = [f.content for f in frames(path)]
    assert b"".join(made) == b"x" * 3_000_000
    assert max(map(len, made)) <= 1 << 21


def test_files_are_merged_by_time(tmp_path: Path) -> None:
    for name, first in (("b.log", 5), ("a.log", 3)):
        (tmp_path / name).write_text(f"{first}\n", encoding="utf-8")
    made = merged([tmp_path / "b.log", tmp_path / "a.log"], lambda f: float(f.content))
    assert [f.content for f in made] == [b"3", b"5"]
