"""Stages killed between any two messages and started again: what comes of them equals an undisturbed run."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from functools import cache, partial
from zlib import decompress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.geoip import GeoFile
from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import SHARDS, Detector
from pipeline.detect.stage import DetectStage
from pipeline.metrics import METRICS
from pipeline.normalize.normalizer import Normalizer
from pipeline.normalize.stage import NormalizeStage
from pipeline.partition import Outgoing, PartitionStage, partition_of
from pipeline.ports import Record
from pipeline.rules import RuleSet, build
from pipeline.rules.config import load
from pipeline.windows.layout import ERROR, SEEN, SEND, entries
from schemas.codec import decode_dead_letters, decode_decision, decode_events, decode_tallies, encode, encode_frame
from schemas.tally import Tally
from schemas.topics import DEAD_LETTERS, DETECT_STATE, ENFORCEMENT, EVENTS, NORMALIZE_STATE, TALLIES
from tests.support.paths import RECORDED

REFERENCE_MS = 1_795_500_000_000
PARTITIONS = 3
GEO = GeoFile(RECORDED / "geo.mmdb")
Where = tuple[str, int]


class Counts:
    """Metrics as a Counter; a name that is not declared is an error."""

    def __init__(self) -> None:
        self.of: Counter[tuple[str, ...]] = Counter()
        self._known = {metric.name for metric in METRICS}

    def add(self, name: str, value: float = 1, *labels: str) -> None:
        assert name in self._known
        assert value >= 0
        self.of[(name, *labels)] += int(value)

    set = observe = add


@cache
def rules() -> RuleSet:
    return build(load(None), "JP")


def normalize_stage(source: str) -> NormalizeStage:
    return NormalizeStage(source, Normalizer(rules().file.trusted, UTC, GEO), PARTITIONS, Counts())


def detect_stage(partition: int) -> DetectStage:
    return DetectStage(partition, Detector(rules(), Allowlist(rules().file.allow)), PARTITIONS, Counts())


@cache
def mixed_lines() -> tuple[bytes, ...]:
    lines = [line for name in ("mail.log", "dovecot.log") for line in (RECORDED / name).read_bytes().splitlines()]
    return tuple(sorted(lines, key=lambda line: line[:15]))


def frames(lines: tuple[bytes, ...], size: int) -> list[bytes]:
    return [b"\n".join(lines[at : at + size]) for at in range(0, len(lines), size)]


@dataclass
class World:
    """A broker, as far as stages can see it. ``accusations`` wait until everything else is counted, so that their
    place among the other tallies is the same in every run."""

    topics: defaultdict[Where, list[Record]] = field(default_factory=lambda: defaultdict(list))
    states: defaultdict[Where, dict[bytes, bytes]] = field(default_factory=lambda: defaultdict(dict))
    committed: Counter[Where] = field(default_factory=Counter)
    accusations: list[Outgoing] = field(default_factory=list)
    decisions: dict[bytes, bytes] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)

    def write(self, out: Outgoing) -> None:
        if out.topic == ENFORCEMENT.name:
            self.decisions[out.key or b""] = out.value
            self.ids.add(decode_decision(out.value).id)
        elif out.topic == TALLIES.name and not out.headers:
            self.accusations.append(out)
        else:
            self.append((out.topic, out.partition or 0), out.value, out.headers)

    def append(self, where: Where, value: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        log = self.topics[where]
        log.append(Record(*where, len(log), REFERENCE_MS, b"mx", value, headers))


class Killed(Exception):
    pass


@dataclass
class Worker:
    """Works on one partition as the streaming job does: states are saved in rounds, between records, and when a
    round is complete, what came before it is committed, sooner or later."""

    world: World
    where: Where
    state: Where
    make: Callable[[], PartitionStage]
    chance: random.Random
    danger: float = 0.0  # of being killed before any message
    saving: float = 0.6

    def run(self) -> None:
        while True:
            try:
                return self._live()
            except Killed:
                continue

    def steps(self) -> Iterator[None]:
        """As ``run``, a step at a time."""
        while True:
            try:
                yield from self._steps()
                return
            except Killed:
                continue

    def _live(self) -> None:
        for _ in self._steps():
            pass

    def _steps(self) -> Iterator[None]:
        stage = self.make()
        stage.load(dict(self.world.states[self.state]))
        at, commit, saving, start = self.world.committed[self.where], 0, iter(()), -1
        log = self.world.topics[self.where]
        while at < len(log):
            record, at = log[at], at + 1
            if record.offset > stage.position:
                for out in stage.process(record):
                    self._send(partial(self.world.write, out))
            yield
            if self.chance.random() > self.saving:
                continue
            for _ in range(self.chance.choice((1, 5, SHARDS, SHARDS + 2))):
                part = next(saving, None)
                if part is None:
                    commit = start + 1
                    saving, start = stage.save(), stage.position
                else:
                    self._save(part)
            if self.chance.random() < 0.5:
                self.world.committed[self.where] = max(self.world.committed[self.where], commit)
        for part in stage.save():  # as at SIGTERM
            self._save(part)
        self.world.committed[self.where] = at

    def _save(self, part: tuple[bytes, bytes]) -> None:
        self._send(lambda: self.world.states[self.state].update([part]))

    def _send(self, act: Callable[[], None]) -> None:
        if self.chance.random() < self.danger:
            raise Killed
        act()


def normalizer(world: World, topic: str, chance: random.Random, danger: float) -> Worker:
    source = f"{topic}-0"
    return Worker(world, (topic, 0), (NORMALIZE_STATE.name, 0), lambda: normalize_stage(source), chance, danger)


def detector(world: World, partition: int, chance: random.Random, danger: float) -> Worker:
    where = (TALLIES.name, partition)
    return Worker(world, where, (DETECT_STATE.name, partition), lambda: detect_stage(partition), chance, danger)


def in_order(seed: int, danger: float, size: int) -> World:
    """Normalises everything, then detects everything, then what was accused."""
    world, chance = World(), random.Random(seed)
    for frame in frames(mixed_lines(), size):
        world.append(("maillog", 0), frame)
    normalizer(world, "maillog", chance, danger).run()
    for _ in range(2):
        for partition in range(PARTITIONS):
            detector(world, partition, chance, danger / 3).run()
        for out in world.accusations:
            world.append((TALLIES.name, out.partition or 0), out.value)
        world.accusations.clear()
    return world


@cache
def undisturbed(size: int) -> World:
    return in_order(0, 0.0, size)


@settings(max_examples=6)
@given(seed=st.integers(0, 2**32), danger=st.sampled_from((0.01, 0.05)), size=st.sampled_from((150, 1000)))
def test_decisions_equal_those_of_an_undisturbed_run_whenever_workers_are_killed(
    seed: int, danger: float, size: int
) -> None:
    world, wanted = in_order(seed, danger, size), undisturbed(size)
    assert len(wanted.decisions) > 50
    assert world.decisions == wanted.decisions
    assert world.ids == wanted.ids


def counted(world: World) -> dict[tuple[str, str, bytes, int, bytes], list[int]]:
    """Everything that the saved windows hold: (kind, subject, what, slot, peer) -> sums."""
    total: dict[tuple[str, str, bytes, int, bytes], list[int]] = {}
    for partition in range(PARTITIONS):
        for key, value in world.states[DETECT_STATE.name, partition].items():
            if key.rpartition(b"/")[2].isdigit():
                _, states, *_ = msgspec.msgpack.decode(decompress(value))
                for kind, of in states.items():
                    for subject, state in of.items():
                        for slot, what, _, peer, *counters in entries(state):
                            have = total.setdefault((kind, subject, what, slot, peer), [0, 0, 0, 0])
                            if what in (SEND, ERROR):
                                have[:] = [a + b for a, b in zip(have, counters, strict=True)]
                            elif what == SEEN:
                                have[:] = counters
    return total


def side_by_side(seed: int, danger: float, size: int) -> World:
    """Both sources and all detectors at once, in any order. Accusations, whose time depends on it, are left out."""
    world, chance = World(), random.Random(seed)
    for topic, name in (("maillog", "mail.log"), ("authlog", "dovecot.log")):
        for frame in frames(tuple((RECORDED / name).read_bytes().splitlines()[:2500]), size):
            world.append((topic, 0), frame)
    workers = [normalizer(world, topic, chance, danger) for topic in ("maillog", "authlog")]
    readers = [detector(world, partition, chance, danger / 3) for partition in range(PARTITIONS)]
    going = {n: worker.steps() for n, worker in enumerate(workers)}
    while going:
        number = chance.choice(list(going))
        if next(going[number], True):
            del going[number]
        if chance.random() < 0.1:
            chance.choice(readers).run()
    for reader in readers:
        reader.run()
    return world


@settings(max_examples=5)
@given(seed=st.integers(0, 2**32), danger=st.sampled_from((0.01, 0.05)))
def test_nothing_is_lost_or_counted_twice_whoever_is_killed_and_whoever_is_ahead(seed: int, danger: float) -> None:
    assert counted(side_by_side(seed, danger, 12)) == counted(orderly(12))


@cache
def orderly(size: int) -> World:
    return side_by_side(0, 0.0, size)


def test_a_frame_becomes_events_dead_letters_and_tallies_that_say_where_it_came_from() -> None:
    counts = Counts()
    stage = NormalizeStage("maillog-7", Normalizer(rules().file.trusted, UTC, GEO), PARTITIONS, counts)
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
        assert partition == partition_of(Tally(kind, subject, "", "", 0.0), PARTITIONS)
    assert {key[1:]: n for key, n in counts.of.items() if key[0] == "sekimori_normalize_lines_total"} == {
        ("maillog", "event"): 2,
        ("maillog", "ignored"): 1,
        ("maillog", "dead_letter"): 1,
    }


@pytest.mark.parametrize("value", [None, b"", b"\n\n", b"\0\xff\xfe", b"no log line"])
def test_frames_without_events_give_nothing_but_are_passed(value: bytes | None) -> None:
    stage = normalize_stage("maillog-0")
    assert stage.process(Record("maillog", 0, 5, REFERENCE_MS, None, value)) == []
    assert stage.position == 5


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"{", ()),
        (b"\xff", ()),
        (b'["account"]', ()),
        (b'["planet","x","","",0.0]', ()),
        (encode(Tally("account", "a", "198.51.100.7", "", 0.0)), (("source", b"s"), ("offset", b"x"))),
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
    stage = detect_stage(0)
    networks, at = [f"198.51.100.{n}" for n in range(20)], REFERENCE_MS / 1000
    guesses = [Tally("account", "a@x.example", network, "BR", at, errors=1) for network in networks]
    out = stage.process(Record(TALLIES.name, 0, 0, REFERENCE_MS, None, encode_frame(guesses)))
    decision = next(decode_decision(o.value) for o in out if o.topic == ENFORCEMENT.name)
    assert next(o.key for o in out if o.topic == ENFORCEMENT.name) == decision.key.encode()
    assert decision.rule == "account_many_guessers"
    accused = [(t, o.partition) for o in out if o.topic == TALLIES.name for t in decode_tallies(o.value)]
    assert {t.subject for t, _ in accused} == set(networks)
    assert all(partition == partition_of(t, PARTITIONS) and t.accused == 1 for t, partition in accused)


def test_the_same_frame_written_twice_counts_once_and_is_measured() -> None:
    counts = Counts()
    stage = DetectStage(0, Detector(rules(), Allowlist(rules().file.allow)), PARTITIONS, counts)
    frame = encode_frame([Tally("account", "a@x.example", "198.51.100.7", "BR", REFERENCE_MS / 1000, messages=19)])
    headers = (("source", b"maillog-0"), ("offset", b"7"))
    for offset in range(3):
        assert stage.process(Record(TALLIES.name, 0, offset, REFERENCE_MS, None, frame, headers)) == []
    assert stage.position == 2
    assert counts.of["sekimori_detect_repeated_frames_total",] == 2
