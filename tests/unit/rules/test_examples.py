"""The timed examples beside each rule: what fires, when, and what just misses.

A block of an example file reads::

    twenty messages from abroad within ten minutes      what it shows
    allow: subject                                      options, see below
    00:00  19 messages from BR                          what happened, and when (hours may be left out)
    09:59  1 message from BR
    => reject at 09:59                                  or: never

Options: ``allow: subject``, ``mode: shadow``, ``subject: network in BR`` (or ``account``, ``country BR``, ``system``).
The rule runs alone, at the limits that we ship, and is enforced, whatever ``mode`` it is shipped in; with
``mode: shadow`` it runs in shadow, and the result reads ``=> reject in shadow at 09:59``.
Facts may be repeated (``24 times every 1h: 1 message from JP``), are done ``from BR, CN``, ``from 8 networks in BR``,
``by alice`` or ``by 8 accounts``, and ``other`` in front of networks or accounts means ones not named before.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path

import msgspec
import pytest

import pipeline.rules
from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import Detector
from pipeline.rules import RULES, RuleSet, build
from pipeline.rules.config import Allow, RulesFile, load, seconds
from pipeline.rules.rule import Rule
from pipeline.windows.metrics import METRICS
from schemas.kinds import ACTIONS
from schemas.tally import CountedKind, Tally

FOLDER = Path(pipeline.rules.__file__).parent
HELPERS = {"__init__", "config", "question", "rule", "shared"}
START = 1_795_478_400  # midnight
BY_ID = {rule.id: rule for rule in RULES}

_FACT = re.compile(r"(?:(?P<times>\d+) times every (?P<every>\w+): )?(?P<what>.*?)(?: (?P<how>from|by) (?P<who>.*))?")
_COUNT = re.compile(r"(\d+) (\w+)")
_WHO = re.compile(r"(\d+) (other )?(?:networks in ([A-Z]{2})|accounts)")
_EXPECTED = re.compile(r"=> (?:never|(?P<action>\w+)(?P<shadow> in shadow)? at (?P<at>[\d:]+))")
COUNTERS = {field.name for field in msgspec.structs.fields(Tally) if field.default == 0}
ONE = {"message": "messages", "recipient": "recipients", "error": "errors", "success": "successes", "sender": "senders"}


@dataclass
class Example:
    rule: Rule
    title: str
    kind: CountedKind
    subject: str
    country: str = ""
    allowed: bool = False
    shadow: bool = False
    tallies: list[Tally] = field(default_factory=list)
    action: str | None = None
    expected_shadow: bool = False
    at: int = 0


def read(rule: Rule) -> list[Example]:
    text = (FOLDER / f"{rule.id}.txt").read_text(encoding="utf-8")
    return [example(rule, rows) for rows in map(rows_of, text.split("\n\n")) if rows]


def rows_of(block: str) -> list[str]:
    return [row.strip() for row in block.split("\n") if row.strip() and not row.startswith("#")]


def example(rule: Rule, rows: list[str]) -> Example:
    title, *rows, last = rows
    made = Example(rule, title, *subject_of(rule.kinds[0]))
    for row in rows:
        name, _, value = row.partition(": ")
        if name == "subject":
            made.kind, made.subject, made.country = subject_of(value)
        elif name == "allow":
            made.allowed = value == "subject"
        elif name == "mode":
            made.shadow = value == "shadow"
        else:
            made.tallies += facts(made, row)
    expected = _EXPECTED.fullmatch(last)
    assert expected, f"{title}: {last}"
    made.action, made.expected_shadow = expected["action"], bool(expected["shadow"])
    made.at = offset(expected["at"]) if expected["at"] else 0
    assert made.action is None or made.action in ACTIONS
    return made


def subject_of(text: str) -> tuple[CountedKind, str, str]:
    kind, _, where = text.partition(" ")
    country = where.removeprefix("in ")
    if kind in ("network", "ip"):
        return "ip", network(country or "BR", 1), country or "BR"
    if kind == "country":
        return "country", country or "BR", country or "BR"
    return ("system", "*", "") if kind == "system" else ("account", "alice@x.example", "")


def offset(text: str) -> int:
    parts = [int(part) for part in text.split(":")]
    return sum(part * size for part, size in zip(reversed(parts), (1, 60, 3600), strict=False))


def network(country: str, number: int) -> str:
    first, second = country.encode()
    return f"100.{first}.{second}.{number}"  # no private one: what may be a gateway of our own is not restricted


def facts(made: Example, row: str) -> Iterator[Tally]:
    time, text = row.split(maxsplit=1)
    match = _FACT.fullmatch(text)
    assert match, f"{made.title}: {row}"
    every = seconds(match["every"]) if match["every"] else 0
    for n in range(int(match["times"] or 1)):
        for country, peer in peers(made, match["how"], match["who"] or ""):
            tally = Tally(made.kind, made.subject, peer, country, START + offset(time) + n * every)
            for part in match["what"].split(", "):
                count(tally, part)
            yield tally


def count(tally: Tally, part: str) -> None:
    if part == "accused":
        tally.accused = 1
        return
    match = _COUNT.fullmatch(part)
    assert match, part
    number, name = int(match[1]), ONE.get(match[2], match[2])
    if name == "senders":
        tally.senders = tuple(f"{n}@forged.example" for n in range(number))
    else:
        assert name in COUNTERS, part
        setattr(tally, name, number)
    if name == "messages":
        tally.successes = number
        tally.recipients = tally.recipients or number


def peers(made: Example, how: str | None, who: str) -> list[tuple[str, str]]:
    """(country, peer) of those who did it."""
    several = _WHO.fullmatch(who)
    numbers = range(0)
    if several:
        first = 101 if several[2] else 1
        numbers = range(first, first + int(several[1]))
    if how == "by":
        names = [f"user{n}@x.example" for n in numbers] or [f"{name}@x.example" for name in who.split(", ")]
        return [(made.country, name) for name in names]
    if how is None or made.kind != "account":
        return [(made.country, "")]
    if several:
        return [(several[3], network(several[3], n)) for n in numbers]
    return [("", "100.0.0.1") if c == "nowhere" else (c, network(c, 1)) for c in who.split(", ")]


@cache
def only(rule_id: str, shadow: bool, allowed: str) -> RuleSet:
    """The rule with the limits that we ship, enforced or in shadow, and no other."""
    file = load(None)
    rules = {
        name: msgspec.structs.replace(config, mode="off" if name != rule_id else "shadow" if shadow else "enforce")
        for name, config in file.rules.items()
    }
    allow = Allow(
        accounts=[allowed] if "@" in allowed else [],
        addresses=[allowed] if "." in allowed and "@" not in allowed else [],
        countries=[allowed] if len(allowed) == 2 else [],
    )
    return build(RulesFile(rules, allow), "JP")


EXAMPLES = [shown for rule in RULES for shown in read(rule)]


@pytest.mark.parametrize("shown", [pytest.param(e, id=f"{e.rule.id}: {e.title}") for e in EXAMPLES])
def test_example(shown: Example) -> None:
    rules = only(shown.rule.id, shown.shadow, shown.subject if shown.allowed else "")
    detector = Detector(rules, Allowlist(rules.file.allow))
    decisions = [d for n, tally in enumerate(shown.tallies) for d in detector.count([tally], n).decisions]
    if shown.action is None:
        assert decisions == []
        return
    first = decisions[0]
    assert first.issued_at.timestamp() - START == shown.at
    assert (first.rule, first.action, first.mode == "shadow") == (shown.rule.id, shown.action, shown.expected_shadow)
    assert first.evidence.observed >= first.evidence.threshold
    assert first.reason.startswith("the whole system: " if shown.kind == "system" else f"{shown.subject}: ")


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.id) for rule in RULES])
def test_every_rule_is_complete(rule: Rule) -> None:
    fires = [e.action is not None for e in EXAMPLES if e.rule is rule]
    assert fires.count(True) >= 2
    assert fires.count(False) >= 2
    assert any(e.allowed for e in EXAMPLES if e.rule is rule)
    assert any(e.expected_shadow for e in EXAMPLES if e.rule is rule)
    assert rule.catches.endswith(".")
    assert rule.hurts.endswith(".")
    assert set(rule.metrics) <= set(METRICS)
    config = load(None).rules[rule.id]
    assert config.mode in ("enforce", "shadow")
    assert any(config.limits.values())
    used = {limit.split()[1] for limits in config.limits.values() for limit in limits}
    assert used <= set(rule.metrics)


def test_every_rule_file_is_registered_and_every_table_has_its_rule() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - HELPERS
    assert files == set(BY_ID) == set(load(None).rules) == {path.stem for path in FOLDER.glob("*.txt")}
    assert all(import_module(f"pipeline.rules.{name}").RULE is BY_ID[name] for name in files)
    assert len(RULES) == len(BY_ID)


def test_rules_that_judge_several_kinds_of_subjects_have_an_example_of_each() -> None:
    for rule in RULES:
        assert set(rule.kinds) == {e.kind for e in EXAMPLES if e.rule is rule}, rule.id


def test_an_example_that_is_wrong_is_noticed() -> None:
    shown = next(e for e in EXAMPLES if e.action is None and not e.allowed)
    with pytest.raises((AssertionError, IndexError)):
        test_example(replace(shown, action="reject"))
