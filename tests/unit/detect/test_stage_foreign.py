"""The detector's work on messages that somebody else wrote: told or counted, and honest ones count as before."""

from hypothesis import HealthCheck, given, settings

from pipeline.metrics import MemoryRecorder
from pipeline.ports import Record
from schemas.codec import MAX_REASON, decode_dead_letters, decode_decision, encode_frame
from schemas.origin import origin_headers
from schemas.tally import Tally
from schemas.topics import DEAD_LETTERS, ENFORCEMENT, TALLIES
from tests.support.foreign import records
from tests.support.stages import REFERENCE_MS, detect_stage

AT = REFERENCE_MS / 1000
MANY = encode_frame([Tally("account", "honest@x.example", "198.51.100.7", "BR", AT, messages=2000, successes=2000)])


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(records(TALLIES.name))
def test_whatever_comes_is_counted_or_told_and_stops_nobody(record: Record) -> None:
    stage, following = detect_stage(0), detect_stage(0)
    for out in stage.process(record):
        if out.topic == DEAD_LETTERS.name:
            (letter,) = decode_dead_letters(out.value)
            assert 0 < len(letter.reason) <= MAX_REASON
    assert stage.position == record.offset
    stage.refresh()
    following.load(stage.save())
    for of in (stage, following):
        out = of.process(Record(TALLIES.name, 0, 8, REFERENCE_MS, None, MANY, origin_headers("maillog-0", 8)))
        found = [decode_decision(o.value).subject for o in out if o.topic == ENFORCEMENT.name]
        assert "honest@x.example" in found


def test_a_forged_offset_is_measured_and_hides_nothing() -> None:
    recorder = MemoryRecorder()
    stage = detect_stage(0, 1, recorder)
    for offset, claimed in enumerate((1, 999_999_999, 2)):
        headers = origin_headers("maillog-0", claimed)
        frame = MANY if claimed == 2 else b'["country","BR","","BR",1.5,3]'
        out = stage.process(Record(TALLIES.name, 0, offset, REFERENCE_MS, None, frame, headers))
    assert out
    assert recorder.values("sekimori_detect_frames_ahead_total") == [0, 1, 0]
    assert recorder.values("sekimori_detect_repeated_frames_total") == [0, 0, 0]
