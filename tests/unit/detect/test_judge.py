"""The margin against asking every rule at every tally: lives by chance, lives near a limit, and lives that are drawn.

Each drawn life is one that is told wrongly when one part of the margin is left out.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.decide import Verdict
from pipeline.detect.detector import Detector
from pipeline.detect.judge import Look
from pipeline.detect.question import question
from pipeline.rules import RULES, Active, RuleSet, build
from pipeline.rules.rule import Rule
from pipeline.windows.layout import GRACE, LATENESS, NEVER, NOWHERE, SLOT, entries, header, latest, new_state
from pipeline.windows.metrics import METRICS
from pipeline.windows.origins import Origins, make_origin
from pipeline.windows.peers import NOBODY
from pipeline.windows.state import Weights, add
from pipeline.windows.view import View
from schemas.tally import Tally
from tests.support.lives import (
    ALICE,
    SHIPPED,
    START,
    is_in,
    late_life,
    one_rule,
    peer_of,
    random_rules,
    rules_of,
    subjects,
    told,
)

DAY = 86400


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


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    gaps=st.sampled_from(
        ((1.0,), (2.0, 20.0), (2.0, 600.0), (1.0, 30.0, 7200.0), (60.0, 40000.0), (9.0, 60.0, 3_500_000.0))
    ),
)
def test_the_margin_never_changes_a_decision(
    seed: int, gaps: tuple[float, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = random.Random(seed)
    rules = random_rules(rng, tmp_path_factory.getbasetemp() / "rules.toml")
    assert_the_same(rules, subjects(rng, 120, gaps))


@settings(max_examples=200)
@given(seed=st.integers(0, 2**32))
def test_the_margin_never_changes_a_decision_about_what_is_late(seed: int) -> None:
    rng = random.Random(seed)
    rules, rule = one_rule(rng)
    assert_the_same(rules, late_life(rng, rules, rule))


@settings(max_examples=60)
@example(2509)  # of two accusations while a restriction ran, one has left the window when a late tally looks back
@given(seed=st.integers(0, 2**32))
def test_the_margin_never_changes_a_decision_where_a_condition_holds_or_does_not(seed: int) -> None:
    rng = random.Random(seed)
    rules, rule = conditional(rng)
    assert_the_same(rules, conditional_life(rng, rule))


def test_lives_with_conditions_come_to_decisions_and_to_limits_that_are_reached_without_one() -> None:
    """Else the property above would say little. Without the condition there are more decisions, at other tallies."""
    fired = spared = 0
    for seed in range(40):
        rng = random.Random(seed)
        rules, rule = conditional(rng)
        life = conditional_life(rng, rule)
        told_at = assert_the_same(rules, life)
        fired += bool(told_at)
        if not rule.momentary:
            always = {
                kind: tuple(replace(a, rule=replace(a.rule, condition=None, room=None)) for a in active)
                for kind, active in rules.by_kind.items()
            }
            spared += told_at != assert_the_same(replace(rules, by_kind=always), life)
    assert fired >= 10
    assert spared >= 4


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), late=st.booleans())
def test_one_look_finds_what_a_look_at_each_end_finds(seed: int, late: bool) -> None:
    """The ends are those of the entries that are kept, from the tally's slot on, up to ``LATENESS`` ago."""
    rng = random.Random(seed)
    rules, rule = one_rule(rng) if late else conditional(rng)
    kind = rng.choice(rule.kinds)
    life = [t for t in (late_life(rng, rules, rule) if late else conditional_life(rng, rule)) if t.kind == kind]
    state, origins = new_state(), Origins()
    for tally in life:
        origin = origins.get((tally.country, tally.peer)) or origins.remember(tally)
        add(state, tally, origin, Weights())
        for active in rules.by_kind[kind]:
            wanted = next(
                filter(None, map(partial(asked_at, state, tally, origin.peer, active), ends_of(state, tally))), None
            )
            look = Look(state, tally, origin.peer, b"JP")
            assert look.ask(question(active)) == wanted


def ends_of(state: bytearray, tally: Tally) -> list[int]:
    now, slot = latest(state), int(tally.at) // SLOT
    if slot >= now - GRACE:
        return [now]
    return sorted({e[0] for e in entries(state) if max(slot, now - LATENESS // SLOT) <= e[0] <= now} | {now})


def asked_at(state: bytearray, tally: Tally, peer: bytes, active: Active, end: int) -> Verdict | None:
    """The first limit of a rule that holds at the end of a slot, by the words of ``Rule``."""
    view = View(entries(state), end, peer, b"JP", tally.successes > 0)
    for group, limit in active.limits:
        metric = METRICS[limit.metric]
        found = [e for e in view.window(metric.entries, limit.window) if is_in(group, e[2].decode().strip("\0"))]
        observed = metric.counts(view, found)
        holds = active.rule.condition is None or active.rule.condition(view, limit.window, active.config)
        if observed >= limit.count and holds:
            return Verdict(active, limit, observed, group, view.known_sources() if active.rule.spares_known else ())
    return None


def conditional(rng: random.Random) -> tuple[RuleSet, Rule]:
    """A rule that knows when its condition can come to hold, with one or two limits."""
    rule = rng.choice([rule for rule in RULES if rule.room or rule.momentary])
    groups = rng.choice((("all",), ("home", "abroad"), ("abroad",)))
    limits = {
        group: [f"{rng.choice((1, 2, 4, 8))} {rule.metrics[0]} / {rng.choice(('1m', '10m', '1h', '24h'))}"]
        for group in groups
    }
    table = msgspec.structs.replace(
        SHIPPED.rules[rule.id],
        limits={"all": [], "home": [], "abroad": []} | limits,
        mode="enforce",
        for_=rng.choice(("7s", "61s", "2h")),
        times=rng.choice((0.5, 1.0, 2.0)),
        share=rng.choice((0.1, 0.3, 0.6)),
    )
    return rules_of({rule.id: table}), rule


def conditional_life(rng: random.Random, rule: Rule) -> list[Tally]:
    """One subject that does a bit of everything, so that shares and ratios go up and down."""
    kind, now, made = rule.kinds[0], float(START), []
    gap, peers = rng.choice((2.0, 20.0, 300.0, 3000.0)), rng.choice((3, 10, 40))
    fails = rng.choice((0.1, 0.3, 0.6))
    for _ in range(120):
        now += gap * rng.random() ** 3
        at = now - rng.choice((0, 0, 0, 0, 15, 60, 300, 900)) * rng.random()
        tally = peer_of(kind, rng.randrange(1, peers), at)
        if rng.random() < fails:
            tally.failed, tally.errors = rng.choice(((1, 0), (0, 1), (2, 3), (1, 1)))
        else:
            tally.messages, tally.successes = rng.choice(((1, 1), (0, 1), (3, 1)))
            tally.recipients = tally.messages * rng.choice((1, 1, 5))
        if kind == "ip" and rng.random() < 0.1:
            tally.accused = 1
        made.append(tally)
    return made


@pytest.mark.parametrize(("patience", "ask_from", "is_left"), [(60, 12, True), (0, NEVER, False)])
def test_a_rule_whose_condition_does_not_hold_is_asked_again_at_once_or_when_it_has_patience(
    patience: int, ask_from: int, is_left: bool
) -> None:
    rules = rules_of({"password_error_spike": SHIPPED.rules["password_error_spike"]})
    (active,) = rules.by_kind["system"]
    state, tally = new_state(), Tally("system", "*", "", "", START, errors=200)
    add(state, tally, make_origin(NOWHERE, NOBODY), Weights())
    look = Look(state, tally, NOBODY, b"JP")
    assert look.ask(question(replace(active, rule=replace(active.rule, patience=patience)))) is None
    look.close()
    assert (header(state).sums > 0) == is_left
    assert header(state).ask_from == min(NEVER, START // 5 + ask_from)


# --- drawn ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """``tells``: the places in ``life``, from 0, where a decision or an accusation comes."""

    name: str
    rule: str
    limits: dict[str, list[str]]
    life: list[Tally]
    tells: list[int]
    table: dict[str, Any] = field(default_factory=dict)


def did(at: float, peer: str = "198.18.0.1", country: str = "JP", **counts: Any) -> Tally:
    return Tally("account", ALICE, peer, country, START + at, **counts)


def sent(at: float, messages: int = 1, peer: str = "198.18.0.1", country: str = "JP") -> Tally:
    return did(at, peer, country, messages=messages, recipients=messages)


def used(at: float, number: int, country: str = "BR") -> Tally:
    return did(at, f"203.0.113.{number}", country, successes=1)


def failed(at: float, number: int, errors: int = 1) -> Tally:
    return did(at, f"203.0.113.{number}", "BR", errors=errors)


def accused(at: float, by: str, successes: int = 0) -> Tally:
    return Tally("ip", "203.0.113.1", by, "BR", START + at, accused=1 - successes, successes=successes)


DRAWN = (
    #     0 s      60 s       120 s     180 s
    #     |m m      <m>         |  m      |           <m> comes last; the window that ends with it holds three
    Drawn(
        "a late message fills a window that is over",
        "account_send_rate",
        {"all": ["3 messages / 1m"]},
        [sent(0), sent(10), sent(150), sent(50)],
        [3],
    ),
    #     |m m       <m>  m                  <m> is four slots behind: its window ends before the one that ends now
    Drawn(
        "twenty seconds are late",
        "account_send_rate",
        {"all": ["3 messages / 1m"]},
        [sent(0), sent(5), sent(75), sent(55)],
        [3],
    ),
    #     |  <m>     |m m        |  m       |         the window that it fills ends after it
    Drawn(
        "a late message is the first of a window that is over",
        "account_send_rate",
        {"all": ["3 messages / 1m"]},
        [sent(60), sent(70), sent(150), sent(20)],
        [3],
    ),
    #     |1 2      <3>         |  4      |           as above, with networks
    Drawn(
        "a late login fills a window that is over",
        "account_many_origins",
        {"all": ["3 sources / 1m"]},
        [used(0, 1), used(10, 2), used(150, 4), used(50, 3)],
        [3],
    ),
    #     |4     <4>          |1         |1              the last ones left nearly all for windows that end now
    Drawn(
        "late messages add up",
        "account_send_rate",
        {"all": ["8 messages / 1m", "40 recipients / 1m"]},
        [sent(0, 4), did(100, messages=1, recipients=16), did(200, messages=1, recipients=4), sent(40, 4)],
        [3],
    ),
    #     |2 3   <4 5>        |1         |1
    Drawn(
        "late networks add up",
        "account_many_origins",
        {"all": ["4 sources / 1m"]},
        [used(0, 2), used(5, 3), used(100, 1), used(200, 1), used(40, 4), used(45, 5)],
        [5],
    ),
    Drawn("messages add up", "account_send_rate", {"all": ["3 messages / 1m"]}, [sent(0), sent(10), sent(20)], [2]),
    Drawn(
        "from abroad fewer will do",
        "account_send_rate",
        {"home": ["9 messages / 1m"], "abroad": ["2 messages / 1m"]},
        [sent(0, country="BR"), sent(10, country="BR")],
        [1],
    ),
    Drawn(
        "at home fewer will do",
        "account_send_rate",
        {"home": ["2 messages / 1m"], "abroad": ["9 messages / 1m"]},
        [sent(0), sent(10)],
        [1],
    ),
    Drawn(
        "networks add up",
        "account_many_origins",
        {"all": ["3 sources / 1m"]},
        [used(0, 1), used(10, 2), used(20, 3)],
        [2],
    ),
    #     |1         |     2   1 |                    1 has left the window, and comes back
    Drawn(
        "a network that was gone counts anew",
        "account_many_origins",
        {"all": ["2 sources / 1m"]},
        [used(0, 1), used(100, 2), used(130, 1)],
        [2],
    ),
    Drawn(
        "a guesser that was gone counts anew",
        "account_many_guessers",
        {"all": ["2 failing_sources / 1m"]},
        [failed(0, 1), failed(100, 2), failed(130, 1)],
        [2],
    ),
    #     a day   ...  30 days - 1 h        30 days + 1 min ... with every message an entry more
    #     |1 logs in        |1 fails 8 times      |m m m m m m m m m ...
    #                        a known network       the 24th entry: compaction forgets that it was known
    Drawn(
        "errors of a network that is not known any more were guesses",
        "account_password_errors",
        {"all": ["8 guesses / 24h"]},
        [used(0, 1), failed(30 * DAY - 3600, 1, 8), *(sent(30 * DAY + 60 + 10 * n) for n in range(30))],
        [23],
    ),
    Drawn(
        "errors take nothing until there is a success",
        "success_after_failures",
        {"all": ["3 peer_errors / 1h"]},
        [failed(0, 1), failed(10, 1), failed(20, 1), used(30, 1)],
        [3],
    ),
    Drawn(
        "an accusation is always looked at",
        "ip_accused",
        {"all": ["2 accusers / 1h"]},
        [accused(0, "b@x.example"), accused(10, "c@x.example")],
        [1],
    ),
    #     0 s              30 min           60 min
    #     |100 recipients     |2 fail          |login  the recipients have left the window, the failed ones have not
    Drawn(
        "a condition may hold later, though nothing was added",
        "failed_recipients",
        {"all": ["2 failed / 1h"]},
        [did(0, messages=1, recipients=100), did(1800, failed=2), did(3700, successes=1)],
        [2],
        {"share": 0.3},
    ),
    #     |m m m          |login                      the restriction has run out, the messages are still in the window
    Drawn(
        "the next episode begins when the last one is over",
        "account_send_rate",
        {"all": ["3 messages / 10m"]},
        [sent(0), sent(5), sent(10), did(65, successes=1), did(80, successes=1)],
        [2, 4],
        {"for_": "1m"},
    ),
    Drawn(
        "who joins in while a restriction runs is accused",
        "account_many_guessers",
        {"all": ["2 failing_sources / 10m"]},
        [failed(0, 1), failed(10, 2), failed(20, 3), failed(30, 3)],
        [1, 2],
        {"accuse": True},
    ),
)


@pytest.mark.parametrize("drawn", [pytest.param(drawn, id=drawn.name) for drawn in DRAWN])
def test_drawn(drawn: Drawn) -> None:
    changes = {"mode": "enforce", "accuse": False, "limits": drawn.limits} | drawn.table
    rules = rules_of({drawn.rule: msgspec.structs.replace(SHIPPED.rules[drawn.rule], **changes)})
    assert assert_the_same(rules, drawn.life) == drawn.tells


# --- how often rules are asked --------------------------------------------------------------------------------------


class Counting(Detector):
    """Counts the looks at subjects."""

    looks = 0

    def _look(self, *args: Any) -> None:
        self.looks += 1
        super()._look(*args)


def looks(life: Iterable[Tally]) -> tuple[int, list[str]]:
    """At a life, by the rules that are shipped, and what came of it."""
    detector, found = Counting(build(SHIPPED, "JP"), Allowlist(SHIPPED.allow)), []
    for position, tally in enumerate(life):
        found += told(detector.count([tally], position))[0]
    return detector.looks, found


def through_two_servers(late: float, minutes: int = 60) -> list[Tally]:
    """280 messages in ten minutes through each, the second one's lines so many seconds late, in order of arrival."""
    return [sent(60 / 28 * n - late * server + server, 1) for n in range(28 * minutes) for server in (0, 1)]


@pytest.mark.parametrize("late", [30, 120, 300, 590, 1800])
def test_a_server_that_is_late_makes_no_more_looks(late: float) -> None:
    in_order, nothing = looks(through_two_servers(0))
    asked, found = looks(through_two_servers(late))
    assert nothing == found == []
    assert asked <= 4 * in_order
    assert asked < len(through_two_servers(0)) / 10


@pytest.mark.parametrize("late", [0, 300])
def test_a_country_that_is_busy_is_seldom_looked_at(late: float) -> None:
    """The home country, that no rule about abroad is for; its errors are many and usual."""
    life = []
    for second in range(3600):
        at = START + second - (late if second % 4 == 0 else 0)
        life.append(Tally("country", "JP", "", "JP", at, messages=5, recipients=9, errors=second % 3 == 0))
    assert looks(life)[0] < len(life) / 20


def test_who_hovers_below_a_limit_is_looked_at_once_in_a_slot_at_most() -> None:
    """Whatever he does: a device with an old password that makes 146 errors in ten minutes, where 150 are too many."""
    life = [Tally("ip", "198.18.0.1", ALICE, "JP", START + 4.1 * n, errors=1) for n in range(3000)]
    asked, found = looks(life)
    assert found == []
    assert asked <= (life[-1].at - life[0].at) / 5


def test_a_limit_that_is_reached_where_the_condition_does_not_hold_is_not_asked_at_every_tally() -> None:
    """A newsletter of which one in sixteen recipients does not exist; an office where many accounts failed once."""
    news = [did(40.0 * n, messages=1, recipients=8, failed=n % 2) for n in range(2000)]
    office = [
        Tally("ip", "198.18.0.1", f"u{n % 500}@x.example", "JP", START + 20.0 * n, successes=1) for n in range(1000)
    ]
    office += [
        Tally("ip", "198.18.0.1", f"v{n}@x.example", "JP", START + 20000 + 20.0 * n, errors=1) for n in range(400)
    ]
    for life in (news, office):
        asked, found = looks(life)
        assert found == []
        assert asked < len(life) / 10
