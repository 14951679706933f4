"""The whole flow in memory; log files as frames; countries."""

import gzip
import json
import os
import random
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.files.logfile import frames, named_frames
from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.cli import main
from pipeline.normalize.normalizer import MAX_RAW, Normalizer
from pipeline.replay import NOWHEN, LineCounts, LogFrame, Normalizers, Replay, in_order
from pipeline.rules import RuleSet, build
from pipeline.rules.config import load
from schemas.codec import decode_decision
from schemas.enforcement import Decision
from tests.support.paths import RECORDED

GEO = RECORDED / "geo.mmdb"
REFERENCE = 1_796_083_200.0  # 2026-12-01
CLIENT = (
    "{time} mx postfix/submission/smtpd[1]: {qid}: client=x[{ip}], sasl_method=PLAIN, sasl_username=alice@x.example"
)
QUEUED = "{time} mx postfix/qmgr[1]: {qid}: from=<alice@x.example>, size=9, nrcpt=1 (queue active)"
ABROAD = "203.0.113.9"


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return build(load(None), "JP")


def sent(number: int, time: str = "Nov 24 01:50:43", ip: str = ABROAD) -> list[str]:
    """The lines of so many messages."""
    return [line.format(time=time, qid=f"{n:010X}", ip=ip) for n in range(number) for line in (CLIENT, QUEUED)]


def frame(lines: list[str]) -> bytes:
    return "\n".join(lines).encode()


def normalizer(rules: RuleSet) -> Normalizer:
    return Normalizer(rules.file.trusted, UTC, lambda _: "BR")


# --- normalising ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "readable"),
    [
        ("2026-12-01T23:59:59Z", True),
        ("2026-12-02T00:00:01Z", False),
        ("2099-01-01T00:00:00Z", False),
        ("9999-12-31T23:59:59Z", False),
        ("1999-01-01T00:00:00Z", True),
        ("1969-12-31T23:59:59Z", False),
        ("0001-01-01T00:00:00Z", False),
    ],
)
def test_a_clock_that_is_far_off_poisons_nothing(rules: RuleSet, time: str, readable: bool) -> None:
    batch = normalizer(rules).normalize(frame(sent(1, time)), REFERENCE, "maillog-0", 3)
    assert len(batch.events) == (2 if readable else 0)
    assert len(batch.dead_letters) == (0 if readable else 2)
    for letter in batch.dead_letters:
        assert letter.reason == "time: more than a day ahead of when the line was received, or before 1970"


def test_every_line_is_accounted_for_and_what_is_unreadable_is_cut(rules: RuleSet) -> None:
    bad = "Nov 24 01:50:43 mx postfix/qmgr[1]: 0000000001: from=<" + "x" * 10_000 + ">, size=?, nrcpt=1 (queue active)"
    batch = normalizer(rules).normalize(frame([*sent(3), "hello", bad]), REFERENCE, "maillog-0", 3)
    assert (batch.lines, len(batch.events), batch.ignored, len(batch.dead_letters)) == (8, 6, 1, 1)
    assert len(batch.dead_letters[0].raw) == MAX_RAW
    assert batch.dead_letters[0].index == 7


@settings(max_examples=60)
@given(st.binary(max_size=300), st.floats(-1e15, 1e15))
def test_no_frame_and_no_reference_breaks_anything(rules: RuleSet, content: bytes, reference: float) -> None:
    head = b"Nov 24 01:50:43 mx postfix/qmgr[1]: 0000000001: from=<"
    for what in (content, head + content, head + content + b">, size=1, nrcpt=1 (queue active)"):
        batch = normalizer(rules).normalize(what, reference, "maillog-0", 0)
        assert len(batch.events) + len(batch.dead_letters) + batch.ignored == batch.lines


# --- replay ---------------------------------------------------------------------------------------------------------


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


# --- files ----------------------------------------------------------------------------------------------------------


def lines_of(made: Iterator[LogFrame]) -> list[bytes]:
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
            assert [line for line in lines_of(frames(path, size=size)) if line] == [line for line in lines if line]


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


def replayed(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["replay", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_messages_of_enforcement_or_a_table(tmp_path: Path) -> None:
    logs = [str(RECORDED / name) for name in ("mail.log", "dovecot.log")]
    status, out, err = replayed(*logs, "--geoip", str(GEO), "--json")
    decisions = [decode_decision(line.encode()) for line in out.splitlines()]
    assert status == 0
    assert len(decisions) > 100
    assert "8,337 lines" in err
    status, table, _ = replayed(*logs, "--geoip", str(GEO))
    assert status == 0
    assert "victim01@testbed.example" in table
    assert f"{len(decisions)} decisions" in table


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["/nowhere/mail.log"], "does not exist"),
        ([str(GEO), "--home", "jp"], "'jp' is no ISO 3166 code such as JP"),
        ([str(GEO), "--zone", "Mars"], "'Mars' is no IANA zone"),
        ([str(GEO), "--geoip", __file__], "no usable MaxMind DB file"),
        ([str(GEO), "--rules", __file__], "no valid TOML"),
        ([str(RECORDED)], "directory"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], why: str) -> None:
    status, _, err = replayed(*arguments)
    assert status != 0
    assert why in " ".join(err.split())
    assert "Traceback" not in err


def test_the_command_reads_standard_input_and_shows_no_control_characters(tmp_path: Path) -> None:
    hostile = [line.replace("alice@", "\x1b[31malice@") for line in sent(700)]
    result = CliRunner().invoke(main, ["replay", "-"], input=frame(hostile))
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "alice@x.example" in result.stdout
    assert "every address counts as at home" in result.stderr
    for line in CliRunner().invoke(main, ["replay", "-", "--json"], input=frame(hostile)).stdout.splitlines():
        json.loads(line)


# --- countries ------------------------------------------------------------------------------------------------------


def control(kind: int, size: int) -> bytes:
    return bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])


def text(value: str) -> bytes:
    return control(2, len(value)) + value.encode()


def uint(value: int) -> bytes:
    return control(6, 4) + struct.pack(">I", value)


def mapping(**items: bytes) -> bytes:
    return control(7, len(items)) + b"".join(text(key) + value for key, value in items.items())


def database(record: bytes, version: int = 4) -> bytes:
    """A MaxMind DB (format 2.0) of one node: addresses whose first bit is 1 have ``record``, others have none."""
    tree = (1).to_bytes(3, "big") + (1 + 16).to_bytes(3, "big")
    metadata = mapping(
        node_count=uint(1), record_size=uint(24), ip_version=uint(version), database_type=text("T"),
        languages=control(11, 0), binary_format_major_version=uint(2), binary_format_minor_version=uint(0),
        build_epoch=uint(1), description=mapping(),
    )  # fmt: skip
    return tree + bytes(16) + record + b"\xab\xcd\xefMaxMind.com" + metadata


@pytest.mark.parametrize(
    ("record", "country"),
    [
        (mapping(country_code=text("JP")), "JP"),
        (mapping(country=mapping(iso_code=text("BR"))), "BR"),
        (mapping(country=mapping(names=mapping())), ""),
        (mapping(country=text("Brazil")), ""),
        (mapping(country_code=text("BRA")), ""),
        (mapping(country_code=text("é")), ""),
        (mapping(country_code=uint(1)), ""),
        (text("JP"), ""),
    ],
)
def test_files_of_several_makers_are_read(tmp_path: Path, record: bytes, country: str) -> None:
    path = tmp_path / "geo.mmdb"
    path.write_bytes(database(record))
    geo = GeoFile(path)
    assert geo("198.51.100.7") == country
    assert geo("10.0.0.1") == ""
    assert geo("2001:db8::1") == ""  # the file knows IPv4 only


def test_a_replaced_file_is_read_again_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path, new = tmp_path / "geo.mmdb", tmp_path / "new.mmdb"
    path.write_bytes(database(mapping(country_code=text("JP"))))
    geo = GeoFile(path)
    assert not geo.reload_if_changed()
    new.write_bytes(database(mapping(country_code=text("BR"))))
    new.rename(path)
    assert geo.reload_if_changed()
    assert geo("198.51.100.7") == "BR"
    new.write_bytes(b"torn")
    new.rename(path)
    with pytest.raises(GeoFileError, match=r"geo\.mmdb: no usable MaxMind DB file"):
        geo.reload_if_changed()
    assert geo("198.51.100.7") == "BR"
    path.unlink()
    with pytest.raises(GeoFileError):
        GeoFile(path)
