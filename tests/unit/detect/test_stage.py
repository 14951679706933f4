"""The detector's work on a partition: what a tally brings about, and states of earlier and later versions."""

import zlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.release import Released, release_of
from pipeline.detect.shard import SHARDS
from pipeline.detect.stage import NEWEST, DetectStage
from pipeline.metrics import MemoryRecorder
from pipeline.partition import Outgoing, StatePart, StateUnreadable, partition_of
from pipeline.ports import Record
from pipeline.rules import build
from pipeline.windows.layout import HEAD, SIZE
from schemas.codec import decode_dead_letters, decode_decision, decode_tallies, encode, encode_frame
from schemas.tally import Tally
from schemas.topics import DEAD_LETTERS, ENFORCEMENT, TALLIES
from tests.support.stages import REFERENCE_MS, detect_stage, normalize_stage, raw_records, rules
from tests.support.states import cut, refused, saved_parts, structures

BEFORE_VERSIONS = saved_parts(Path(__file__).parent / "state-1.msgpack")
"""Saved after 15 frames of the recorded logs, by a version that told none: its state is of version 1."""
RULES_THEN = frozenset(
    ("success_after_failures", "account_many_origins", "account_send_rate", "account_send_surge", "foreign_senders",
     "failed_recipients", "account_many_guessers", "account_password_errors", "ip_many_accounts", "ip_password_errors",
     "ip_send_rate", "ip_accused", "country_send_rate", "password_error_spike")
)  # fmt: skip
AT = REFERENCE_MS / 1000


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"{", ()),
        (b"\xff", ()),
        (b'["account"]', ()),
        (b'["planet","x","","",0.0]', ()),
        (encode(Tally("account", "a", "198.51.100.7", "", 0.0)), (("source", b"s"), ("offset", b"x"))),
        (encode(Tally("account", "a", "198.51.100.7", "", 0.0)), (("source", b"\xff"), ("offset", b"1"))),
        (encode(Tally("account", "a", "no network", "", 0.0)), ()),
        (encode(Tally("ip", "no network", "a", "", 0.0)), ()),
        (encode(Tally("account", "a", "", "", -1.0)), ()),
        (encode(Tally("account", "a", "", "", 1e300)), ()),
        (encode(Tally("account", "a", "", "", 0.0, messages=-1)), ()),
    ],
)
def test_what_is_no_tally_is_a_dead_letter_and_stops_nobody(
    value: bytes, headers: tuple[tuple[str, bytes], ...]
) -> None:
    stage = detect_stage(0)
    (out,) = stage.process(Record(TALLIES.name, 0, 9, REFERENCE_MS, b"k", value, headers))
    assert out.topic == DEAD_LETTERS.name
    (letter,) = decode_dead_letters(out.value)
    assert (letter.source, letter.offset) == ("tallies-0", 9)
    assert letter.reason
    assert stage.position == 9


def test_decisions_and_accusations_go_where_they_belong() -> None:
    stage = detect_stage(0, 3)
    networks = [f"198.51.100.{n}" for n in range(20)]
    guesses = [Tally("account", "a@x.example", network, "BR", AT, errors=1) for network in networks]
    out = stage.process(Record(TALLIES.name, 0, 0, REFERENCE_MS, None, encode_frame(guesses)))
    decision = next(decode_decision(o.value) for o in out if o.topic == ENFORCEMENT.name)
    assert next(o.key for o in out if o.topic == ENFORCEMENT.name) == decision.key.encode()
    assert decision.rule == "account_many_guessers"
    accused = [(t, o.partition) for o in out if o.topic == TALLIES.name for t in decode_tallies(o.value)]
    assert {t.subject for t, _ in accused} == set(networks)
    assert all(partition == partition_of(t, 3) and t.accused == 1 for t, partition in accused)


def test_the_same_frame_written_twice_counts_once_and_is_measured() -> None:
    recorder = MemoryRecorder()
    stage = detect_stage(0, 3, recorder)
    frame = encode_frame([Tally("account", "a@x.example", "198.51.100.7", "BR", AT, messages=19)])
    headers = (("source", b"maillog-0"), ("offset", b"7"))
    for offset in range(3):
        assert stage.process(Record(TALLIES.name, 0, offset, REFERENCE_MS, None, frame, headers)) == []
    assert stage.position == 2
    assert recorder.values("sekimori_detect_repeated_frames_total") == [0, 1, 1]


def test_new_rules_are_used_from_the_next_refresh_on() -> None:
    strict = msgspec.structs.replace(rules().file, rules=dict(rules().file.rules))
    strict.rules["account_send_rate"] = msgspec.structs.replace(
        strict.rules["account_send_rate"], limits={"all": ["2 messages / 10m"]}
    )
    in_force, recorder = [rules()], MemoryRecorder()
    stage = DetectStage(3, 4, recorder, lambda: (in_force[0], Allowlist(in_force[0].file.allow)), limit=100)

    def decided(offset: int) -> list[str]:
        tally = Tally("account", "a@x.example", "198.51.100.7", "JP", AT, messages=1)
        out = stage.process(Record(TALLIES.name, 3, offset, REFERENCE_MS, None, encode(tally)))
        return [decode_decision(o.value).rule for o in out if o.topic == ENFORCEMENT.name]

    assert decided(0) + decided(1) + decided(2) == []
    in_force[0] = build(strict, "JP")
    assert decided(3) == []
    stage.refresh()
    assert decided(4) == ["account_send_rate"]
    stage.refresh()  # the same rules: the restriction goes on
    assert decided(5) == []
    assert recorder.values("sekimori_detect_subjects", "3") == [1, 1]


# --- states ---------------------------------------------------------------------------------------------------------


def tallied(frames: Iterable[Record]) -> list[list[Outgoing]]:
    """The tallies of each raw frame, as the normaliser writes them."""
    stage = normalize_stage("maillog-0")
    return [[out for out in stage.process(frame) if out.topic == TALLIES.name] for frame in frames]


def decided(stage: DetectStage, frames: Iterable[list[Outgoing]]) -> list[bytes]:
    """What comes of the frames, each followed by the accusations that it led to."""
    decisions, offset = [], stage.position
    for frame in frames:
        waiting = deque(frame)
        while waiting:
            out, offset = waiting.popleft(), offset + 1
            record = Record(TALLIES.name, 0, offset, REFERENCE_MS, out.key, out.value, out.headers)
            for came in stage.process(record):
                if came.topic == ENFORCEMENT.name:
                    decisions.append(came.value)
                else:
                    waiting.append(came)
    return decisions


def of_that_time() -> DetectStage:
    """A stage with the rules that ``BEFORE_VERSIONS`` knew: one that was added since finds what was counted before."""
    file = rules().file
    known = {
        name: table if name in RULES_THEN else msgspec.structs.replace(table, mode="off")
        for name, table in file.rules.items()
    }
    then = build(msgspec.structs.replace(file, rules=known), "JP")
    return DetectStage(0, 1, MemoryRecorder(), lambda: (then, Allowlist(then.file.allow)), limit=4_000_000)


def test_a_state_without_a_version_is_gone_on_with_as_if_nothing_had_been() -> None:
    frames = tallied(raw_records())
    undisturbed, loaded, fresh = of_that_time(), of_that_time(), of_that_time()
    before = decided(undisturbed, frames[:15])
    assert len(before) > 50
    loaded.load(BEFORE_VERSIONS)
    assert loaded.position == undisturbed.position
    following = decided(undisturbed, frames[15:])
    assert len(following) > 50
    assert decided(loaded, frames[15:]) == following
    assert decided(fresh, frames[15:]) != following  # the state does matter
    assert decided(loaded, frames[:15]) == []  # the frames that the state holds are known


def test_what_is_saved_tells_its_version_and_can_be_loaded() -> None:
    stage, next_one = detect_stage(2, 4), detect_stage(2, 4)
    for offset, (out,) in enumerate(tallied(raw_records()[:4])):
        stage.process(Record(TALLIES.name, 2, offset, REFERENCE_MS, out.key, out.value, out.headers))
    saved = list(stage.save())
    assert {part.version for part in saved} == {NEWEST}
    assert [part.key for part in saved[-2:]] == [b"2/sources", b"2/position"]
    assert len(saved) > 2
    next_one.load(saved)
    assert next_one.position == stage.position
    assert list(next_one.save()) == saved[-2:]  # no shard has changed
    tally = decode_tallies(tallied(raw_records()[:1])[0][0].value)
    assert next_one.detector.subjects() == stage.detector.subjects() >= len({(t.kind, t.subject) for t in tally})


def test_a_state_of_another_partition_is_none_of_ours() -> None:
    stage = detect_stage(1)
    stage.load([*BEFORE_VERSIONS, StatePart(b"10/0", b"garbage", 99), StatePart(b"strange", b"garbage")])
    assert stage.position == -1
    assert stage.detector.subjects() == 0


@pytest.mark.parametrize("number", [0, -2, -1])
@pytest.mark.parametrize(
    ("version", "why"), [(NEWEST + 1, f"is version {NEWEST + 1}, and this program knows"), (0, "version 0")]
)
def test_a_part_of_another_version_is_refused(number: int, version: int, why: str) -> None:
    parts = list(BEFORE_VERSIONS)
    parts[number] = parts[number]._replace(version=version)
    with pytest.raises(StateUnreadable, match=why) as caught:
        detect_stage(0).load(parts)
    assert caught.value.key == parts[number].key


@given(number=st.integers(0, len(BEFORE_VERSIONS) - 2), length=st.integers(0, 10_000))
def test_a_part_that_is_cut_off_is_refused(number: int, length: int) -> None:
    """But for the position: 12 is as good a number as 123."""
    with pytest.raises(StateUnreadable, match="damaged") as caught:
        detect_stage(0).load(cut(BEFORE_VERSIONS, number, length))
    assert caught.value.key == BEFORE_VERSIONS[number].key


NAMES = st.sampled_from(("0", "7", str(SHARDS), "-1", "x", "", "1/2", "sources", "position", "9" * 5000))


@settings(max_examples=300)
@given(NAMES, st.binary() | structures().map(msgspec.msgpack.encode), st.booleans())
def test_whatever_a_part_holds_it_is_loaded_or_refused(name: str, value: bytes, compressed: bool) -> None:
    key = f"0/{name}".encode()
    error = refused(detect_stage(0), StatePart(key, zlib.compress(value) if compressed else value))
    assert error.key == key if error else name in ("0", "7", "sources", "position")


SHARD = st.tuples(
    st.integers(-1, 2**40),
    st.dictionaries(
        st.sampled_from(("account", "ip", "country", "system")),
        st.dictionaries(
            st.text(max_size=5), st.sampled_from((HEAD, HEAD + SIZE, 0, 4, HEAD + 1)).map(bytes), max_size=3
        ),
    ),
    st.just([]),
    st.binary(max_size=16),
)


@settings(max_examples=300)
@given(SHARD)
def test_a_shard_with_windows_that_are_cut_off_is_refused(
    shard: tuple[object, dict[str, dict[str, bytes]], object, bytes],
) -> None:
    """They would be met only later, when their subject comes again."""
    stage = detect_stage(0)
    _, windows, *_ = shard
    whole = all(len(state) in (HEAD, HEAD + SIZE) for of in windows.values() for state in of.values())
    error = refused(stage, StatePart(b"0/0", zlib.compress(msgspec.msgpack.encode(shard))))
    assert (error is None) == whole
    if whole:
        assert stage.detector.subjects() == sum(map(len, windows.values()))


def test_releases_are_heard_before_the_next_message() -> None:
    recorder, heard = MemoryRecorder(), list[tuple[Released, ...]]([()])
    stage = DetectStage(
        0, 1, recorder, lambda: (rules(), Allowlist(rules().file.allow)), 100, releases=lambda: heard[0]
    )

    def spam(offset: int, at: float) -> list[str]:
        tally = Tally("account", "a@x.example", "198.51.100.7", "BR", at, messages=30, recipients=30)
        record = Record(TALLIES.name, 0, offset, int(at * 1000) + 1, None, encode(tally))
        return [o.key.decode() for o in stage.process(record) if o.topic == ENFORCEMENT.name and o.key]

    (key,) = spam(0, AT)
    released = release_of(key, AT + 60)
    assert released is not None
    heard[0] = (released,)
    assert spam(1, AT + 30) == []
    assert spam(2, AT + 90) == [key]
    stage.refresh()
    assert recorder.values("sekimori_detect_releases_total") == [1]
