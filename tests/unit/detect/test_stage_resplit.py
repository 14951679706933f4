"""More partitions of ``tallies``: counting goes on as if there had always been so many."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.brake import BrakeState, Count
from pipeline.detect.release import accused_from, release_of
from pipeline.detect.shard import SavedShard
from pipeline.detect.stage import DetectStage, resplit
from pipeline.metrics import MemoryRecorder
from pipeline.partition import StatePart, StateUnreadable, partition_of, partition_of_subject
from pipeline.ports import Record
from pipeline.rules import build
from pipeline.rules.config import Brake
from schemas.codec import decode_tallies, encode_frame
from schemas.origin import origin_headers
from schemas.tally import Tally
from schemas.topics import ENFORCEMENT, TALLIES
from tests.support.stages import REFERENCE_MS, normalize_stage, raw_records, rules
from tests.support.states import cut

AT = REFERENCE_MS / 1000
Frame = tuple[int, Sequence[Tally]]


def stage_of(partition: int, partitions: int) -> DetectStage:
    """Without a brake: it counts by partitions, and so says something else of more of them."""
    free = build(msgspec.structs.replace(rules().file, brake=Brake(hourly=0)), "JP")
    in_force = free, Allowlist(free.file.allow)
    return DetectStage(partition, partitions, MemoryRecorder(), lambda: in_force, limit=4_000_000)


def stages_of(partitions: int) -> list[DetectStage]:
    return [stage_of(partition, partitions) for partition in range(partitions)]


@cache
def recorded() -> tuple[Frame, ...]:
    stage, frames = normalize_stage("maillog-0"), []
    for raw in raw_records(100):
        tallies = [t for out in stage.process(raw) if out.topic == TALLIES.name for t in decode_tallies(out.value)]
        frames.append((raw.offset, tallies))
    return tuple(frames)


def count(stages: Sequence[DetectStage], frames: Iterable[Frame], *, only: Iterable[int] = ()) -> list[bytes]:
    """What the partitions decide; each frame as the normaliser sends it. ``only``: the messages for the others get
    lost with the normaliser. Accusations, whose time depends on the number of partitions, are left out."""
    decided = []
    for offset, tallies in frames:
        for number, stage in enumerate(stages):
            of = [tally for tally in tallies if partition_of(tally, len(stages)) == number]
            if of and (number in only or not only):
                headers = origin_headers("maillog-0", offset)
                message = Record(
                    TALLIES.name, number, stage.position + 1, REFERENCE_MS, None, encode_frame(of), headers
                )
                decided += [out.value or b"" for out in stage.process(message) if out.topic == ENFORCEMENT.name]
    return decided


def grown(stages: Sequence[DetectStage], after: int) -> list[DetectStage]:
    parts = defaultdict[int, list[StatePart]](list)
    for partition, stage in enumerate(stages):
        for child, part in resplit(stage.save(), partition, len(stages), after):
            parts[child].append(part)
    made = stages_of(after)
    for number, stage in enumerate(made):
        stage.load(parts[number])
        stage.renew()
    return made


def saved(stage: DetectStage) -> list[tuple[object, object]]:
    """Windows and episodes, by shard."""
    stage.renew()
    shards = [SavedShard.load(p.value) for p in stage.save() if p.key.rpartition(b"/")[2].isdigit()]
    return [(shard.states, sorted(shard.episodes, key=lambda known: known[:3])) for shard in shards]


@settings(max_examples=20)
@given(st.sampled_from((1, 2, 3)), st.sampled_from((2, 3)), st.integers(0, 40), st.integers(0, 6), st.data())
def test_counting_goes_on_as_if_there_had_always_been_so_many(
    before: int, times: int, cut_at: int, again: int, data: st.DataObject
) -> None:
    """The normaliser was killed while it sent a frame, and sends that one and some before it again."""
    after, frames = before * times, recorded()
    undisturbed, old = stages_of(after), stages_of(before)
    decided = count(old, frames[:cut_at])
    reached = data.draw(st.sets(st.integers(0, before - 1), min_size=1))
    decided += count(old, frames[cut_at : cut_at + 1], only=reached)
    new = grown(old, after)
    assert [stage.position for stage in new] == [stage.position for stage in old] + [-1] * (after - before)
    decided += count(new, frames[max(0, cut_at - again) :])
    wanted = count(undisturbed, frames)
    assert len(wanted) > 10
    assert sorted(decided) == sorted(wanted)
    assert [saved(stage) for stage in new] == [saved(stage) for stage in undisturbed]


def test_what_was_released_is_known_in_every_partition() -> None:
    network = "198.51.100.7"
    released = release_of(f"ip:ip_accused:{network}", AT + 60)
    assert released is not None
    old, undisturbed = stages_of(2), stages_of(6)
    for stages in (old, undisturbed):
        count(stages, [(0, [Tally("ip", network, "a@x.example", "BR", AT, errors=1)])])
        assert [stage.detector.release((released,)) for stage in stages] == [1] * len(stages)
    new = grown(old, 6)
    assert [saved(stage) for stage in new] == [saved(stage) for stage in undisturbed]
    marks = {accused_from(stage.detector._shards, network) for stage in new}
    assert marks == {int(AT + 60) // 5}
    assert [stage.detector.release((released,)) for stage in new] == [0] * 6


def test_who_never_belonged_to_the_partition_is_left_behind() -> None:
    subjects = [f"a{n}@x.example" for n in range(20)]
    stage = stage_of(1, 2)
    tallies = [Tally("account", subject, "198.51.100.7", "JP", AT, messages=1) for subject in subjects]
    stage.process(Record(TALLIES.name, 1, 0, REFERENCE_MS, None, encode_frame(tallies)))
    split = [(child, part) for child, part in resplit(stage.save(), 1, 2, 4) if part.key.rpartition(b"/")[2].isdigit()]
    found = {(child, s) for child, part in split for s in SavedShard.load(part.value).states.get("account", ())}
    assert found == {(partition_of_subject(s, 4), s) for s in subjects if partition_of_subject(s, 2) == 1}
    assert {child for child, _ in found} == {1, 3}


COUNTS = st.builds(Count, st.integers(0, 100), st.integers(0, 100))
BRAKES = st.builds(
    BrakeState,
    st.dictionaries(st.sampled_from(("a", "b")), st.dictionaries(st.integers(0, 5), COUNTS, max_size=4)),
    st.tuples(st.integers(0, 5), st.integers(0, 1000)),
)


@given(BRAKES, st.integers(1, 9))
def test_the_brake_has_counted_as_much_as_before_and_each_its_part(state: BrakeState, number: int) -> None:
    spread = state.spread(number)
    assert len(spread) == number
    assert all({r: set(h) for r, h in of.hours.items()} == {r: set(h) for r, h in state.hours.items()} for of in spread)
    for rule, hours in state.hours.items():
        for hour, counted in hours.items():
            for name in ("passed", "held"):
                parts = [getattr(of.hours[rule][hour], name) for of in spread]
                assert sum(parts) == getattr(counted, name)
                assert max(parts) - min(parts) <= 1
    assert {of.active[0] for of in spread} == {state.active[0]}
    assert sum(of.active[1] for of in spread) == state.active[1]


@given(st.integers(0, 33), st.integers(0, 10_000))
def test_a_part_that_is_cut_off_is_refused(number: int, length: int) -> None:
    stage = stage_of(0, 1)
    count([stage], recorded()[:3])
    parts = list(stage.save())[:-1]  # but for the position: 12 is as good a number as 123
    cut_off = cut(parts, number, length)
    with pytest.raises(StateUnreadable, match="damaged"):
        list(resplit(cut_off, 0, 1, 2))
