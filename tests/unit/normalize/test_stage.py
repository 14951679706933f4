"""The normaliser's work on a partition: what a frame becomes, and states of earlier and later versions."""

import zlib
from datetime import UTC
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics import MemoryRecorder
from pipeline.normalize.normalizer import Normalizer
from pipeline.normalize.stage import MOST, NEWEST, NormalizeStage
from pipeline.partition import Outgoing, StatePart, StateUnreadable, partition_of
from pipeline.ports import Record
from schemas.codec import decode_dead_letters, decode_events, decode_tallies
from schemas.event import Event
from schemas.tally import Tally
from schemas.topics import DEAD_LETTERS, EVENTS, TALLIES
from tests.support.stages import REFERENCE_MS, normalize_stage, raw_records, rules
from tests.support.states import cut, refused, saved_parts, structures

BEFORE_VERSIONS = saved_parts(Path(__file__).parent / "state-1.msgpack")
"""Saved after 15 frames of the recorded logs, by a version that told none: its state is of version 1."""


def test_a_frame_becomes_events_dead_letters_and_tallies_that_say_where_it_came_from() -> None:
    recorder = MemoryRecorder()
    stage = normalize_stage("maillog-7", 3, recorder)
    lines = (
        b"Nov 24 01:50:43 mx postfix/submission/smtpd[1]: A0DED23C18C: client=x[198.51.100.7],"
        b" sasl_method=PLAIN, sasl_username=Alice@x.example",
        b"Nov 24 01:50:43 mx postfix/qmgr[1]: A0DED23C18C: from=<alice@x.example>, size=9, nrcpt=2 (queue active)",
        b"Nov 24 01:50:43 mx postfix/qmgr[1]: A0DED23C18C: from=<alice@x.example>, size=x, nrcpt=2 (queue active)",
        b"what is this?",
    )
    out = stage.process(Record("maillog", 7, 41, REFERENCE_MS, b"mx", b"\n".join(lines)))
    assert all(o.headers == (("source", b"maillog-7"), ("offset", b"41")) for o in out)
    events = [e for o in out if o.topic == EVENTS.name for e in decode_events(o.value)]
    assert [(e.kind, e.account, e.nrcpt) for e in events] == [
        ("connect", "alice@x.example", None),
        ("submission", "alice@x.example", 2),
    ]
    (letter,) = [d for o in out if o.topic == DEAD_LETTERS.name for d in decode_dead_letters(o.value)]
    assert (letter.source, letter.offset, letter.index, letter.raw) == ("maillog-7", 41, 2, lines[2].decode())
    assert letter.reason == "postfix-qmgr: size or nrcpt is no number"
    tallied = {
        (t.kind, t.subject): o.partition for o in out if o.topic == TALLIES.name for t in decode_tallies(o.value)
    }
    assert set(tallied) == {("account", "alice@x.example"), ("ip", "198.51.100.7")}
    for (kind, subject), partition in tallied.items():
        assert partition == partition_of(Tally(kind, subject, "", "", 0.0), 3)
    for outcome, lines_of_it in (("event", 2), ("ignored", 1), ("dead_letter", 1)):
        assert recorder.values("sekimori_normalize_lines_total", "maillog", outcome) == [lines_of_it]


@pytest.mark.parametrize("value", [None, b"", b"\n\n", b"\0\xff\xfe", b"no log line"])
def test_frames_without_events_give_nothing_but_are_passed(value: bytes | None) -> None:
    stage = normalize_stage("maillog-0")
    assert stage.process(Record("maillog", 0, 5, REFERENCE_MS, b"mx", value)) == []
    assert stage.position == 5


def test_places_are_looked_up_again_when_there_is_another_file() -> None:
    country, edition = ["JP"], [1]
    normalizer = Normalizer(rules().file.trusted, UTC, lambda _: country[0])
    stage = NormalizeStage("maillog", 0, normalizer, 1, MemoryRecorder(), edition=lambda: edition[0])
    line = (
        b"Nov 24 01:50:43 mx postfix/submission/smtpd[1]: warning: x[198.51.100.7]: SASL PLAIN authentication failed: x"
    )

    def found(offset: int) -> str | None:
        stage.refresh()
        out = stage.process(Record("maillog", 0, offset, REFERENCE_MS, b"mx", line))
        return decode_events(out[0].value)[0].country

    assert found(0) == "JP"
    country[0] = "BR"
    assert found(1) == "JP"  # the same file: what it says of an address is remembered
    edition[0] = 2
    assert found(2) == "BR"


# --- states ---------------------------------------------------------------------------------------------------------


def test_a_state_without_a_version_is_gone_on_with_as_if_nothing_had_been() -> None:
    undisturbed, loaded = normalize_stage("maillog-0"), normalize_stage("maillog-0")
    records = raw_records()
    for record in records[:15]:
        undisturbed.process(record)
    loaded.load(BEFORE_VERSIONS)
    assert loaded.position == undisturbed.position == 14
    following = [others_of(undisturbed.process(record)) for record in records[15:]]
    assert sum(map(len, following)) > 50
    assert [others_of(loaded.process(record)) for record in records[15:]] == following
    fresh = normalize_stage("maillog-0")
    assert [others_of(fresh.process(record)) for record in records[15:]] != following  # the state does matter


def others_of(out: list[Outgoing]) -> list[Event]:
    """What is as it was in versions in which attempts had no state of their own."""
    return [e for o in out if o.topic == EVENTS.name for e in decode_events(o.value or b"") if e.kind != "auth_failure"]


def test_what_is_saved_tells_its_version_and_can_be_loaded() -> None:
    stage, next_one = normalize_stage("maillog-0"), normalize_stage("maillog-0")
    for record in raw_records()[:3]:
        stage.process(record)
    saved = list(stage.save())
    assert [(part.key, part.version) for part in saved] == [(b"maillog-0", NEWEST)]
    next_one.load(saved)
    assert list(next_one.save()) == saved


def test_a_state_of_another_source_is_none_of_ours() -> None:
    stage = normalize_stage("authlog-0")
    stage.load([*BEFORE_VERSIONS, StatePart(b"maillog-1", b"garbage", 99)])
    assert stage.position == -1


@pytest.mark.parametrize(
    ("version", "why"), [(NEWEST + 1, f"is version {NEWEST + 1}, and this program knows"), (0, "version 0")]
)
def test_a_state_of_another_version_is_refused(version: int, why: str) -> None:
    with pytest.raises(StateUnreadable, match=why) as caught:
        normalize_stage("maillog-0").load([part._replace(version=version) for part in BEFORE_VERSIONS])
    assert caught.value.key == b"maillog-0"


@given(length=st.integers(0, 10_000))
def test_a_state_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(StateUnreadable, match="damaged") as caught:
        normalize_stage("maillog-0").load(cut(BEFORE_VERSIONS, 0, length))
    assert caught.value.key == b"maillog-0"


@settings(max_examples=300)
@given(st.binary() | structures().map(msgspec.msgpack.encode) | st.binary().map(msgspec.msgpack.encode), st.booleans())
def test_whatever_a_state_holds_it_is_loaded_or_refused(value: bytes, compressed: bool) -> None:
    error = refused(
        normalize_stage("maillog-0"), StatePart(b"maillog-0", zlib.compress(value) if compressed else value)
    )
    assert error is None or error.key == b"maillog-0"


@given(structures().map(msgspec.msgpack.encode) | st.binary())
def test_whatever_a_joiner_s_state_holds_it_is_loaded_or_refused(joined: bytes) -> None:
    stage = normalize_stage("maillog-0")
    error = refused(stage, StatePart(b"maillog-0", zlib.compress(msgspec.msgpack.encode((7, joined)))))
    assert "it is damaged, or of an unknown format" in str(error) if error else stage.position == 7


@pytest.mark.parametrize("key", [b"mx", None])
def test_a_message_that_unpacks_to_more_than_a_worker_can_bear_is_a_dead_letter(key: bytes | None) -> None:
    stage = normalize_stage("maillog-0")
    out = stage.process(Record("maillog", 0, 5, REFERENCE_MS, key, b"x" * (MOST + 1)))
    assert [o.topic for o in out] == ["dead-letters"]
    letter = decode_dead_letters(out[0].value or b"")[0]
    assert (letter.source, letter.offset, len(letter.raw)) == ("maillog-0", 5, 4096)
    assert str(MOST + 1) in letter.reason
    assert stage.position == 5
