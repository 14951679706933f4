"""The margin against asking every rule at every tally: lives by chance, lives near a limit, and lives that are drawn.

Each drawn life is one that is told wrongly when one part of the margin is left out.
"""

import random
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.judge import Look
from pipeline.rules.question import question
from pipeline.windows.layout import NEVER, NOWHERE, header, new_state
from pipeline.windows.origins import make_origin
from pipeline.windows.peers import NOBODY
from pipeline.windows.state import Weights, add
from schemas.tally import Tally
from tests.support.lives import (
    SHIPPED,
    START,
    assert_the_same,
    did,
    late_life,
    one_rule,
    random_rules,
    rules_of,
    sent,
    subjects,
)

DAY = 86400


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


def test_lives_that_are_made_so_come_to_decisions_by_late_tallies() -> None:
    """Else the property above would say little."""
    by_late = 0
    for seed in range(100):
        rng = random.Random(seed)
        rules, rule = one_rule(rng)
        life = late_life(rng, rules, rule)
        latest = [max(t.at for t in life[: n + 1]) for n in range(len(life))]
        by_late += any(life[n].at < latest[n] - 20 for n in assert_the_same(rules, life))
    assert by_late >= 30


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
)  # fmt: skip


@pytest.mark.parametrize("drawn", [pytest.param(drawn, id=drawn.name) for drawn in DRAWN])
def test_drawn(drawn: Drawn) -> None:
    changes = {"mode": "enforce", "accuse": False, "limits": drawn.limits} | drawn.table
    rules = rules_of({drawn.rule: msgspec.structs.replace(SHIPPED.rules[drawn.rule], **changes)})
    assert assert_the_same(rules, drawn.life) == drawn.tells
