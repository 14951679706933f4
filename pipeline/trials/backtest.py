"""What another rules file would have done: the same tallies counted under several rule sets.

Counting is split as the cluster splits it: by partition of subjects. Only accounts accuse and only networks are
accused, so every partition's accounts can be counted first, in parallel, and then every partition's networks, each
with the accusations put where ``replay.Detection`` would have counted them: the outcome is exactly that of a replay.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import Detector, Findings
from pipeline.partition import partition_of
from pipeline.replay import in_order
from pipeline.rules import RuleSet
from pipeline.trials.braking import AnyDecision, Customer, Moment
from schemas.enforcement import Decision
from schemas.tally import Tally


class TallyFrame(msgspec.Struct, gc=False, array_like=True):
    """Those tallies of a frame that belong to one partition. ``places``: where they stood in the whole frame."""

    number: int
    places: list[int]
    tallies: list[Tally]


class Accusation(msgspec.Struct, gc=False, array_like=True):
    """A network accused while an account was counted: by the tally at ``place`` of frame ``number``."""

    number: int
    place: int
    tally: Tally


@dataclass
class Counted:
    """What one rule set made of a partition. ``subjects``: how many were remembered at the end. ``customers``:
    whom the brake is for, see ``trials.braking``."""

    decisions: list[Decision] = field(default_factory=list)
    accusations: list[Accusation] = field(default_factory=list)
    subjects: int = 0
    customers: list[Customer] = field(default_factory=list)


def split(tallies: Sequence[Tally], number: int, partitions: int) -> Iterator[tuple[bool, int, TallyFrame]]:
    """A frame's tallies -> (are they accounts?, partition, their frame). Evidence is left out: it tells no difference,
    and is most of the bytes."""
    parts: dict[tuple[bool, int], TallyFrame] = {}
    for place, tally in enumerate(tallies):
        tally.samples = tally.queue_ids = ()
        key = tally.kind == "account", partition_of(tally, partitions)
        part = parts.get(key)
        if part is None:
            part = parts[key] = TallyFrame(number, [], [])
        part.places.append(place)
        part.tallies.append(tally)
    for (accounts, partition), part in parts.items():
        yield accounts, partition, part


def interleave(times: Sequence[Sequence[int]], names: Sequence[str]) -> list[list[int]]:
    """The places in time of each source's frames, and the sources' names -> the frames' numbers in the order of
    replay."""
    numbers: list[list[int]] = [[] for _ in times]
    for number, (source, _) in enumerate(in_order(times, names, int)):
        numbers[source].append(number)
    return numbers


def detector(rules: RuleSet, partitions: int) -> Detector:
    """A detector for one partition of ``partitions``."""
    return Detector(rules, Allowlist(rules.file.allow), rules.file.subjects_of_one(partitions), brakes=AnyDecision())


def count_accounts(frames: Iterable[TallyFrame], detectors: Sequence[Detector]) -> list[Counted]:
    """A partition's accounts, in order, under several rule sets."""
    counted = [Counted() for _ in detectors]
    pairs = list(zip(detectors, counted, strict=True))
    for frame in frames:
        for place, tally in zip(frame.places, frame.tallies, strict=True):
            for by, into in pairs:
                findings = by.count((tally,), frame.number)
                if findings.decisions:
                    _note(findings, into, TallyFrame(frame.number, [place], [tally]))
                if findings.accusations:
                    into.accusations += [Accusation(frame.number, place, t) for t in findings.accusations]
    for by, into in pairs:
        into.subjects = by.subjects()
    return counted


def count_active(
    frames: Iterable[TallyFrame], detectors: Sequence[Detector], moments: Sequence[Sequence[Moment]]
) -> list[list[int]]:
    """A partition's accounts, counted again: how many were active at each of some moments, which are in order. For each
    rule set."""
    found: list[list[int]] = [[] for _ in detectors]
    pairs = list(zip(detectors, moments, found, strict=True))
    for frame in frames:
        for by, asked, told in pairs:
            while len(told) < len(asked) and asked[len(told)].number < frame.number:
                told.append(by.active_accounts(asked[len(told)].at))
            if len(told) < len(asked):
                by.count(frame.tallies, frame.number)
    for by, asked, told in pairs:
        told += [by.active_accounts(moment.at) for moment in asked[len(told) :]]
    return found


def count_others(
    frames: Iterable[TallyFrame], detectors: Sequence[Detector], accusations: Sequence[Sequence[Accusation]]
) -> list[Counted]:
    """A partition's networks and countries, in order. ``accusations``: for each rule set, in order (see ``route``)."""
    counted = [Counted() for _ in detectors]
    waiting = [_Waiting(by, accused) for by, accused in zip(detectors, accusations, strict=True)]
    for frame in frames:
        for accused, into in zip(waiting, counted, strict=True):
            accused.count_before(frame.number, into)
            _note(accused.detector.count(frame.tallies, frame.number), into, frame)
    for accused, into in zip(waiting, counted, strict=True):
        accused.count_before(None, into)
        into.subjects = accused.detector.subjects()
    return counted


class _Waiting:
    """Accusations that are counted right after the frame that they come from."""

    def __init__(self, detector: Detector, accusations: Sequence[Accusation]) -> None:
        self.detector = detector
        self._accusations = accusations
        self._next = 0

    def count_before(self, number: int | None, into: Counted) -> None:
        """Those of frames before ``number``; None: all that are left."""
        while self._next < len(self._accusations):
            accusation = self._accusations[self._next]
            if number is not None and accusation.number >= number:
                return
            self._next += 1
            frame = TallyFrame(accusation.number, [accusation.place], [accusation.tally])
            _note(self.detector.count(frame.tallies, accusation.number), into, frame, accused=True)


def _note(findings: Findings, into: Counted, frame: TallyFrame, accused: bool = False) -> None:
    into.decisions += findings.decisions
    for decision in findings.held:
        tallies = zip(frame.places, frame.tallies, strict=True)
        subject, issued = decision.subject, decision.issued_at
        place = next(n for n, t in tallies if t.subject == subject and datetime.fromtimestamp(t.at, UTC) == issued)
        into.customers.append(Customer((frame.number, accused, place), decision))


def route(accusations: Iterable[Accusation], partitions: int) -> list[list[Accusation]]:
    """Accusations of all partitions -> those for each, in the order in which replay counts them."""
    routed: list[list[Accusation]] = [[] for _ in range(partitions)]
    for accusation in sorted(accusations, key=lambda a: (a.number, a.place)):
        routed[partition_of(accusation.tally, partitions)].append(accusation)
    return routed
