"""Lives of subjects, made by chance: tallies in the order in which they are counted, and rules with low limits."""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import Detector, Findings
from pipeline.rules import RULES, RuleSet, build
from pipeline.rules.config import RuleConfig, load
from pipeline.rules.rule import Rule
from pipeline.windows.layout import LATENESS, entries, latest, new_state
from pipeline.windows.metrics import METRICS
from pipeline.windows.origins import Origin, Origins
from pipeline.windows.state import Weights, add
from pipeline.windows.view import View
from schemas.tally import CountedKind, Tally

START = 1_795_485_000
HOME = "JP"
ALICE = "a@x.example"
COUNTRIES = {"": "", "198.18.0.1": "JP", "198.18.0.2": "JP", "203.0.113.9": "BR", "2001:db8:1::/64": "CN"}
SENDERS = ("a@x.example", "b@x.example", "c@x.example")
METRIC_WINDOWS = ("1m", "5m", "10m", "30m", "1h", "2h", "24h")
GROUPS = ("all", "home", "abroad", "CN", "JP")


def origin(peer: str) -> Origin:
    """Of an account's tally."""
    return Origins().remember(Tally("account", ALICE, peer, COUNTRIES[peer], START))


def copied(tally: Tally) -> Tally:
    return Tally(*(getattr(tally, name) for name in Tally.__struct_fields__))


def told(findings: Findings) -> tuple[list[str], list[tuple[str, str, float]]]:
    """What came of a batch, to be compared."""
    return (
        sorted(f"{d.id} {d.issued_at} {d.reason} {d.expires_at} {d.parameters}" for d in findings.decisions),
        sorted((t.subject, t.peer, t.at) for t in findings.accusations),
    )


# --- anything, in any order -----------------------------------------------------------------------------------------


def tallies(rng: random.Random, number: int, gaps: tuple[float, ...], most: int = 3) -> list[Tally]:
    """A random life of one account."""
    now, made = float(START), []
    for _ in range(number):
        now += rng.choice(gaps) * rng.random()
        at = now if rng.random() < 0.7 else max(0.0, now - rng.choice((4, 20, 90, 590, 700, 5000)) * rng.random())
        tally = Tally("account", ALICE, rng.choice(list(COUNTRIES)), "", at)
        tally.country = COUNTRIES[tally.peer]
        for _ in range(rng.choice((1, 1, 2, 3))):
            what = rng.choice(("send", "send", "fail", "login", "login", "bounce", "sender", "accuse"))
            if what == "send":
                tally.messages += rng.randint(1, most)
                tally.recipients += rng.randint(1, 2 * most)
                tally.webmail += rng.randint(0, 1)
            elif what == "fail":
                name = rng.choice(("errors", "errors_mta", "errors_sasl"))
                setattr(tally, name, getattr(tally, name) + rng.randint(1, most))
            elif what == "login":
                tally.successes += 1
            elif what == "bounce":
                tally.failed += rng.randint(1, most)
            elif what == "sender":
                tally.senders = tuple(rng.sample(SENDERS, rng.randint(1, 2)))
            elif rng.random() < 0.2:
                tally.accused = 1
        made += [copied(tally) for _ in range(rng.choice((1, 1, 1, 2)))]  # the same once more
    return made


def subjects(rng: random.Random, number: int, gaps: tuple[float, ...]) -> list[Tally]:
    """Random tallies of some accounts, networks, countries and the system."""
    made = tallies(rng, number, gaps, rng.choice((1, 3)))
    for tally in made:
        kind = rng.choice(("account", "account", "ip", "country", "system"))
        if kind == "account":
            tally.subject = rng.choice((ALICE, "b@x.example"))
            tally.accused = 0
        elif kind == "ip":
            tally.subject = rng.choice([peer for peer in COUNTRIES if peer])
            tally.country, tally.senders = COUNTRIES[tally.subject], ()
            tally.peer = rng.choice(("", ALICE, "b@x.example", "c@x.example"))
        elif kind == "country":
            tally.subject = tally.country = rng.choice(("JP", "BR", "CN"))
            tally.peer, tally.accused, tally.successes, tally.senders = "", 0, 0, ()
        else:
            tally.subject, tally.peer, tally.country = "*", "", ""
            tally.accused, tally.successes, tally.senders = 0, 0, ()
        tally.kind = kind
    return made


def random_rules(rng: random.Random, path: Path) -> RuleSet:
    """A valid rules file with low limits, as chance will have it; rules ask again at once, not after a while."""
    text = []
    for rule in RULES:
        accuse = str(rule.accuses is not None and rng.random() < 0.6).lower()
        mode = rng.choice(("enforce", "enforce", "shadow", "off"))
        text.append(f'[rules.{rule.id}]\nmode = "{mode}"\naccuse = {accuse}')
        text.append(
            f'for = "{rng.choice(("7s", "61s", "10m", "2h"))}"\ncap = "3h"\ndecay = "{rng.choice(("1m", "1d"))}"'
        )
        text.append(f"times = {rng.choice((0.5, 1.0, 3.0))}\nshare = {rng.choice((0.0, 0.3))}")
        text.append(f"[rules.{rule.id}.limits]")
        text += [f"{group} = {random_limits(rng, rule)}" for group in GROUPS if group == "all" or rng.random() < 0.5]
        text += [f"{group} = []" for group in ("home", "abroad") if f"\n{group} = " not in "\n" + "\n".join(text[-5:])]
    path.write_text("\n".join(text), encoding="utf-8")
    return at_once(build(load(path), HOME))


def random_limits(rng: random.Random, rule: Rule) -> str:
    chosen = [
        f'"{rng.choice((1, 2, 3, 5, 8, 13, 30))} {rng.choice(rule.metrics)} / {rng.choice(METRIC_WINDOWS)}"'
        for _ in range(rng.randint(0, 3))
    ]
    return f"[{', '.join(chosen)}]"


def at_once(rules: RuleSet) -> RuleSet:
    """Without patience, which is a delay by intention."""
    patient = {
        kind: tuple(replace(a, rule=replace(a.rule, patience=0)) for a in active)
        for kind, active in rules.by_kind.items()
    }
    return replace(rules, by_kind=patient)


SHIPPED = load(None)


def rules_of(tables: dict[str, RuleConfig]) -> RuleSet:
    """These rules with these tables, and no other."""
    off = {name: msgspec.structs.replace(config, mode="off") for name, config in SHIPPED.rules.items()}
    return at_once(build(msgspec.structs.replace(SHIPPED, rules=off | tables), HOME))


# --- near a limit, and late -----------------------------------------------------------------------------------------

DEEDS: tuple[Callable[[Tally, int], None], ...] = (
    lambda tally, n: _set(tally, messages=n, recipients=n, successes=n),
    lambda tally, n: _set(tally, messages=n, recipients=2 * n, webmail=n),
    lambda tally, n: _set(tally, messages=1, recipients=n),
    lambda tally, n: _set(tally, failed=n),
    lambda tally, n: _set(tally, errors=n),
    lambda tally, n: _set(tally, errors_mta=n, errors_sasl=n),
    lambda tally, n: _set(tally, errors_sasl=n),
    lambda tally, n: _set(tally, successes=n),
    lambda tally, n: _set(tally, errors=1, successes=n),
    lambda tally, n: _set(tally, senders=tuple(f"{int(tally.at) % 7}{i}@y.example" for i in range(n)), messages=1),
    lambda tally, n: _set(tally, accused=1),
)
"""What somebody may do ``n`` times, alone in its tally."""


def _set(tally: Tally, **counts: int | tuple[str, ...]) -> None:
    for name, value in counts.items():
        setattr(tally, name, value)


def raises(metric: str, deed: Callable[[Tally, int], None], kind: CountedKind) -> bool:
    """Does the metric count such a deed?"""
    tally = peer_of(kind, 1, START)
    deed(tally, 1)
    state, where = new_state(), Origins().remember(tally)
    add(state, tally, where, Weights())
    return METRICS[metric].within(View(entries(state), latest(state), where.peer, HOME.encode()), 60) > 0


def peer_of(kind: CountedKind, number: int, at: float) -> Tally:
    """An empty tally of the life's one subject, with the peer of that number."""
    country = ("BR", "JP", "CN", "")[number % 4]
    subject, peer = {
        "account": (ALICE, f"203.0.113.{number}"),
        "ip": ("198.51.100.7", f"u{number}@x.example"),
        "country": ("BR", ""),
        "system": ("*", ""),
    }[kind]
    return Tally(kind, subject, peer, {"ip": "BR", "country": "BR", "system": ""}.get(kind, country), at)


def one_rule(rng: random.Random) -> tuple[RuleSet, Rule]:
    """A rule with one or two low limits."""
    rule = rng.choice([rule for rule in RULES if rule.metrics])
    limits = {rng.choice(("all", "all", *GROUPS)): [near(rng, rule) for _ in range(rng.choice((1, 1, 2)))]}
    table = msgspec.structs.replace(
        SHIPPED.rules[rule.id],
        limits=limits,
        mode="enforce",
        accuse=rule.accuses is not None and rng.random() < 0.5,
        for_=rng.choice(("7s", "7s", "61s")),
        times=rng.choice((0.01, 1.0)),
        share=0.01,
    )
    return rules_of({rule.id: table}), rule


def near(rng: random.Random, rule: Rule) -> str:
    return f"{rng.choice((2, 3, 3, 4, 6))} {rng.choice(rule.metrics)} / {rng.choice(('1m', '1m', '2m', '5m', '10m'))}"


def late_life(rng: random.Random, rules: RuleSet, rule: Rule) -> list[Tally]:
    """One subject of the rule, again and again::

    |<---- window of a limit ---->|
      x x     x   (one too few)           x               what comes in order; the window has moved on
                    x                                     what comes after that, late: the window that is over is full
    """
    kind = rng.choice(rule.kinds)
    (active,) = rules.by_kind[kind]
    now, made = float(START), []
    if rng.random() < 0.5:  # a past, where a rule asks for one
        made.append(peer_of(kind, 1, now))
        made[0].errors = made[0].messages = 1
        now += 86400.0
    for _ in range(rng.randint(1, 4)):
        group, aim = rng.choice(active.limits)
        deed = rng.choice([deed for deed in DEEDS if raises(aim.metric, deed, kind)])
        peers = rng.sample([n for n in range(1, 40) if is_in(group, peer_of(kind, n, now).country)] or [1, 2, 3, 4], 4)
        if rng.random() < 0.5:
            peers += range(40, 50)

        def done(at: float, deed: Callable[[Tally, int], None], n: int = 1, peers: list[int] = peers) -> None:
            made.append(peer_of(kind, rng.choice(peers), at))
            deed(made[-1], n)

        length = min(aim.window, LATENESS)
        first = now
        for at in sorted(now + length * 0.8 * rng.random() for _ in range(aim.count - rng.choice((1, 1, 1, 0, 2)))):
            done(at, deed)
        now += aim.window * rng.uniform(0.9, 1.2) + 30 * rng.random()
        for _ in range(rng.choice((1, 1, 1, 2))):
            now += 10 * rng.random()
            done(now, rng.choice((deed, deed, deed, *DEEDS)), rng.choice((1, 1, 2)))
        for _ in range(rng.choice((1, 1, 2, 4))):
            done(max(first + length * rng.random(), now - LATENESS * rng.random()), deed)
        now += rng.choice((1.0, 30.0, 400.0, 4000.0)) * rng.random()
    return made


def is_in(group: str, country: str) -> bool:
    """Does a group of limits hold for a country?"""
    home = country in ("", HOME)
    return group in ("all", country) or (group == "home" and home) or (group == "abroad" and not home)


# --- held against asking always -------------------------------------------------------------------------------------


def assert_the_same(rules: RuleSet, life: Iterable[Tally]) -> list[int]:
    """Counts a life twice, and asks every rule at every tally once. Returns at which tallies something was told."""
    nobody, told_at = Allowlist(rules.file.allow), []
    rarely, always = Detector(rules, nobody), Detector(rules, nobody)
    for position, tally in enumerate(life):
        always.use(rules, nobody)  # forgets every margin
        wanted = told(always.count([tally], position))
        assert told(rarely.count([tally], position)) == wanted, (position, tally)
        if wanted != ([], []):
            told_at.append(position)
    return told_at


def did(at: float, peer: str = "198.18.0.1", country: str = "JP", **counts: Any) -> Tally:
    return Tally("account", ALICE, peer, country, START + at, **counts)


def sent(at: float, messages: int = 1, peer: str = "198.18.0.1", country: str = "JP") -> Tally:
    return did(at, peer, country, messages=messages, recipients=messages)
