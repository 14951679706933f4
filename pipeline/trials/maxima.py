"""How much subjects do: for each limit of the rules, the most on each day.

The unit is a subject on a day on which it did anything. Of each, and for each limit, the largest count is kept at which
the rule would have fired: found by the rules' own functions, with limits that always lie one above the most that was
seen that day.
"""

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import Detector, Findings
from pipeline.detect.judge import Look, ask_at_next_tally
from pipeline.detect.question import Question, question, weights_of
from pipeline.rules import Active, RuleSet
from pipeline.rules.config import Limit
from pipeline.windows.layout import new_state
from pipeline.windows.metrics import METRICS
from pipeline.windows.origins import Origins
from pipeline.windows.state import ALL, Weights, add
from schemas.enforcement import Decision
from schemas.tally import CountedKind, Tally


@dataclass(frozen=True)
class Watched:
    """One limit of a rule, and the kind of subject that it is watched on."""

    kind: CountedKind
    active: Active
    group: str
    limit: Limit


@dataclass(frozen=True)
class Seen:
    """The most that each subject did on each day, where it did anything that counts.

    ``names``: subjects and their numbers, from 0. ``subjects``, ``most``: of the same length, a number and a count for
    each subject-day with more than 0. ``days``: of each subject, on which it did anything.
    """

    watched: Watched
    names: Mapping[str, int]
    subjects: NDArray[np.int64]
    most: NDArray[np.int64]
    days: NDArray[np.int64]


class _Subject:
    __slots__ = ("day", "days", "most", "number", "state", "weights")

    def __init__(self, number: int, limits: int, weights: tuple[Weights, Weights]) -> None:
        self.number = number
        self.state = new_state()
        self.day = -1
        self.days = 0
        self.most = [0] * limits
        self.weights = weights


class _Kind:
    """All subjects of one kind."""

    def __init__(self, kind: CountedKind, rules: RuleSet, only: str | None) -> None:
        self.kind = kind
        self.watched = [
            Watched(kind, replace(active, limits=()), group, limit)
            for active in rules.by_kind[kind]
            if only in (None, active.rule.id)
            for group, limit in active.limits
        ]
        self.metrics = [METRICS[watched.limit.metric] for watched in self.watched]
        self._home = rules.home
        self.origins = Origins()
        self.subjects: dict[str, _Subject] = {}
        self.found = [(array("q"), array("q")) for _ in self.watched]
        self.weights_of = lru_cache(maxsize=1 << 14)(self._weights)
        self.question_of = lru_cache(maxsize=1 << 14)(self._question)

    def _question(self, number: int, count: int) -> Question:
        """The rule with that limit alone, set to ``count``."""
        watched = self.watched[number]
        limits = ((watched.group, replace_count(watched.limit, count)),)
        return question(replace(watched.active, limits=limits))

    def _weights(self, most: tuple[int, ...]) -> tuple[Weights, Weights]:
        """Of limits that lie one above ``most``."""
        limits = ((w.group, replace_count(w.limit, n + 1)) for w, n in zip(self.watched, most, strict=True))
        return weights_of(limits, self._home)

    def close(self, subject: _Subject) -> None:
        """The subject's day is over."""
        for count, (numbers, counts) in zip(subject.most, self.found, strict=True):
            if count:
                numbers.append(subject.number)
                counts.append(count)
        subject.most = [0] * len(self.watched)
        subject.days += 1


def replace_count(limit: Limit, count: int) -> Limit:
    """The same limit with another count."""
    return Limit(count, limit.metric, limit.window)


class Maxima:
    """Watches tallies, in order, from ``since`` on (seconds since 1970). Days are those of ``zone``.

    ``only``: the id of the one rule to watch.
    """

    def __init__(self, rules: RuleSet, zone: tzinfo, only: str | None = None, since: float = -math.inf) -> None:
        self._home, self._homes = rules.home.encode(), ("", rules.home)
        self._kinds = {kind: _Kind(kind, rules, only) for kind in rules.by_kind}
        self._zone = zone
        self._since = since
        self._day_of = lru_cache(maxsize=4096)(self._day)
        self.days: set[int] = set()

    def _day(self, quarter: int) -> int:
        """Offsets from UTC are whole quarters of an hour."""
        day = datetime.fromtimestamp(quarter * 900, self._zone).toordinal()
        self.days.add(day)
        return day

    def count(self, tallies: Iterable[Tally]) -> None:
        """Counts a batch."""
        for tally in tallies:
            kind = self._kinds[tally.kind]
            if not kind.watched or tally.at < self._since:
                continue
            subject = kind.subjects.get(tally.subject)
            if subject is None:
                weights = kind.weights_of((0,) * len(kind.watched))
                subject = kind.subjects[tally.subject] = _Subject(len(kind.subjects), len(kind.watched), weights)
            day = self._day_of(int(tally.at) // 900)
            if day > subject.day:
                if subject.day >= 0:
                    kind.close(subject)
                subject.day = day
                ask_at_next_tally(subject.state)
            origin = kind.origins.get((tally.country, tally.peer)) or kind.origins.remember(tally)
            at_home, abroad = subject.weights
            if add(subject.state, tally, origin, at_home if tally.country in self._homes else abroad) == ALL:
                self._look(kind, subject, tally, origin.peer)

    def _look(self, kind: _Kind, subject: _Subject, tally: Tally, peer: bytes) -> None:
        """Raises the subject's maxima as far as rules would fire."""
        look = Look(subject.state, tally, peer, self._home)
        most = subject.most
        for number, metric in enumerate(kind.metrics):
            while not look.rules_out(metric, most[number] + 1):
                verdict = look.ask(kind.question_of(number, most[number] + 1))
                if verdict is None:
                    break
                most[number] = verdict.observed
        subject.weights = kind.weights_of(tuple(most))
        look.close()

    def seen(self) -> list[Seen]:
        """Everything so far; ends the day of every subject."""
        result = []
        for kind in self._kinds.values():
            for subject in kind.subjects.values():
                kind.close(subject)
                subject.day = -1
            names = {name: subject.number for name, subject in kind.subjects.items()}
            days = np.array([subject.days for subject in kind.subjects.values()], np.int64)
            for watched, (numbers, counts) in zip(kind.watched, kind.found, strict=True):
                as_arrays = np.array(numbers, np.int64), np.array(counts, np.int64)
                result.append(Seen(watched, names, *as_arrays, days))
        return result


def joined(parts: Sequence[Sequence[Seen]]) -> list[Seen]:
    """What was seen of different subjects, each part by a ``Maxima`` of the same rules, as if one had seen it all."""
    names_of: dict[CountedKind, tuple[dict[str, int], list[int]]] = {}
    result = []
    for same in zip(*parts, strict=True):
        kind = same[0].watched.kind
        if kind not in names_of:
            names, starts = names_of[kind] = {}, []
            for seen in same:
                starts.append(len(names))
                names.update((name, starts[-1] + number) for name, number in seen.names.items())
        names, starts = names_of[kind]
        subjects = np.concatenate([seen.subjects + start for seen, start in zip(same, starts, strict=True)])
        most, days = (np.concatenate([getattr(seen, name) for seen in same]) for name in ("most", "days"))
        result.append(Seen(same[0].watched, names, subjects, most, days))
    return result


class Watching(Detector):
    """A detector that also watches what it counts, and remembers whom it would restrict. ``limit``: subjects of it."""

    def __init__(self, rules: RuleSet, maxima: Maxima, limit: int) -> None:
        super().__init__(rules, Allowlist(rules.file.allow), limit)
        self._maxima = maxima
        self.suspects: dict[tuple[CountedKind, str], set[str]] = {}

    def count(self, tallies: Iterable[Tally], position: int, source: str = "", offset: int = 0) -> Findings:
        """See ``Detector``."""
        tallies = list(tallies)
        self._maxima.count(tallies)
        findings = super().count(tallies, position, source, offset)
        for decision in findings.decisions:
            if decision.action != "notify":
                self.suspects.setdefault(_subject(decision), set()).add(decision.rule)
        return findings


def _subject(decision: Decision) -> tuple[CountedKind, str]:
    kinds: Mapping[str, CountedKind] = {"account": "account", "country": "country", "system": "system"}
    return kinds.get(decision.subject_kind, "ip"), decision.subject
