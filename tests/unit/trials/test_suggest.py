"""Limits from data: maxima agree with an obvious model, known quantiles are found again, and doubts are told."""

import tomllib
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.detect.judge import Look
from pipeline.detect.question import Question, question
from pipeline.rules import RULES as RULED
from pipeline.rules import RuleSet, build
from pipeline.rules.config import Limit, RuleConfig, load
from pipeline.trials.cases import Case, parse_cases
from pipeline.trials.maxima import Maxima, Seen, Watched, Watching
from pipeline.trials.suggest import Suggestion, as_toml, honest, limit_text, suggest
from pipeline.windows.layout import SLOT, entries, latest, new_state
from pipeline.windows.origins import make_origin
from pipeline.windows.state import Weights, add
from pipeline.windows.view import View
from schemas.tally import Tally
from tests.support.decisions import NOW
from tests.support.lives import rules_of

RULES = build(load(None), "JP")
OFF = {rule.id for rule in RULED if rule.patience}  # they call for a look every minute, which would hide a missing one
FILE = load(None)
IMPATIENT = build(
    msgspec.structs.replace(
        FILE,
        rules={name: msgspec.structs.replace(r, mode="off") if name in OFF else r for name, r in FILE.rules.items()},
    ),
    "JP",
)
BRIEF = rules_of(  # in a window of a day every message raises the most, so that every one calls for a look
    {"account_send_rate": RuleConfig("reject", {"home": ["600 messages / 10m"], "all": ["20 webmail / 5m"]})}
)
DAY = 86400
MIDNIGHT = NOW - NOW % DAY
LIMIT = "home: 600 messages / 10m"


def of_limit(found: list[Seen], text: str, kind: str = "account", rule: str = "account_send_rate") -> Seen:
    (seen,) = (
        s
        for s in found
        if (s.watched.kind, s.watched.active.rule.id) == (kind, rule)
        and f"{s.watched.group}: {limit_text(s.watched.limit, s.watched.limit.count)}" == text
    )
    return seen


def sends(account: str, at: float, messages: int) -> Tally:
    return Tally("account", account, "192.0.2.1", "JP", at, messages, messages, successes=1)


def test_the_most_of_each_day_in_any_window() -> None:
    maxima = Maxima(RULES, UTC)
    for at, messages in ((0, 3), (300, 4), (1200, 5), (DAY - 60, 6), (DAY + 60, 1), (2 * DAY + 3600, 2)):
        maxima.count([sends("a", MIDNIGHT + at, messages)])
    seen = of_limit(maxima.seen(), LIMIT)
    assert sorted(zip(seen.subjects.tolist(), seen.most.tolist(), strict=True)) == [(0, 2), (0, 7), (0, 7)]
    assert (seen.names, seen.days.tolist(), len(maxima.days)) == ({"a": 0}, [3], 3)


def test_days_are_those_of_the_zone() -> None:
    maxima = Maxima(RULES, ZoneInfo("Asia/Tokyo"))
    maxima.count([sends("a", MIDNIGHT + 14 * 3600, 1), sends("a", MIDNIGHT + 16 * 3600, 1)])
    assert len(maxima.days) == 2


@st.composite
def streams(draw: st.DrawFn) -> list[Tally]:
    """One account and its networks; some tallies are late."""
    at, made = MIDNIGHT, []
    for _ in range(draw(st.integers(1, 25))):
        at += draw(st.integers(0, 1500))
        late = draw(st.sampled_from([0, 0, 0, 30, 400, 590]))
        peer, country = draw(st.sampled_from([("192.0.2.1", "JP"), ("192.0.2.2", "RU"), ("192.0.2.3", "DE")]))
        good = draw(st.booleans())
        counts = (draw(st.integers(0, 4)), draw(st.integers(0, 9)), 0, 0, 0, 0, 1) if good else (0, 0, 1, 2, 1, 1, 0)
        made.append(Tally("account", "a", peer, country, max(MIDNIGHT, at - late), *counts))
    return [tally for tally in made if tally.at < MIDNIGHT + DAY]


@st.composite
def quiet_streams(draw: st.DrawFn) -> list[Tally]:
    """Mail from one network, and a few logins from others, so that little calls for a look."""
    at, made = MIDNIGHT, []
    for _ in range(draw(st.integers(1, 25))):
        at += draw(st.integers(0, 1500))
        if draw(st.integers(0, 3)):
            sent = draw(st.integers(1, 6))
            made.append(Tally("account", "a", "192.0.2.1", "JP", at, sent, sent))
        else:
            made.append(Tally("account", "a", f"192.0.2.{draw(st.integers(2, 4))}", "JP", at, successes=1))
    return made


@st.composite
def late_streams(draw: st.DrawFn) -> list[Tally]:
    """Mail of some minutes, one message when ten minutes are over, and then what comes late for those minutes."""
    at, made = MIDNIGHT, []
    for _ in range(draw(st.integers(1, 3))):
        first = at
        for _ in range(draw(st.integers(1, 4))):
            at += draw(st.integers(0, 150))
            made.append(sends("a", at, draw(st.integers(1, 6))))
        at = max(at, first + draw(st.integers(601, 900)))
        made.append(sends("a", at, 1))
        for _ in range(draw(st.integers(1, 3))):
            made.append(sends("a", draw(st.integers(max(first, at - 595), at - 20)), draw(st.integers(1, 6))))
        at += draw(st.sampled_from([10, 1000, 20_000]))
    return made


def model(tallies: list[Tally], watched: Watched) -> int:
    """Asks after every tally, with all that was counted, one by one upwards."""
    state, most = new_state(), 0
    for tally in tallies:
        origin = make_origin(tally.country.encode(), bytes(4) + bytes(map(int, tally.peer.split("."))))
        add(state, tally, origin, Weights())
        now = latest(state)
        found = entries(state)
        ends = {now} | {e[0] for e in found if int(tally.at) // SLOT <= e[0] <= now}
        for end in sorted(ends):
            look = Look(state, tally, origin.peer, b"JP")
            look.view = View(found, end, origin.peer, b"JP", tally.successes > 0)
            look.ends, look.first = [end], 0
            while (verdict := look.ask(with_count(watched, most + 1))) is not None:
                most = verdict.observed
    return most


def with_count(watched: Watched, count: int) -> Question:
    limit = Limit(count, watched.limit.metric, watched.limit.window)
    return question(replace(watched.active, limits=((watched.group, limit),)))


ONE_MORE = [sends("a", MIDNIGHT, 6), sends("a", MIDNIGHT + 60, 6), sends("a", MIDNIGHT + 180, 3)]
ONE_MORE.insert(2, Tally("account", "a", "192.0.2.2", "JP", MIDNIGHT + 120, successes=1))

#     |6 6    <3>       |1           |            <3> comes last, and makes 15 within ten minutes
LATE = [sends("a", MIDNIGHT + at, count) for at, count in ((0, 6), (60, 6), (800, 1), (300, 3))]


def assert_the_most(rules: RuleSet, tallies: list[Tally]) -> None:
    maxima = Maxima(rules, UTC)
    maxima.count(tallies)
    for seen in maxima.seen():
        if seen.watched.kind == "account":
            assert seen.most.tolist() == [m for m in [model(tallies, seen.watched)] if m], seen.watched


@settings(max_examples=50)
@example(ONE_MORE)
@given(st.one_of(streams(), quiet_streams()))
def test_maxima_agree_with_asking_every_time(tallies: list[Tally]) -> None:
    assert_the_most(IMPATIENT, tallies)


@settings(max_examples=200)
@example(LATE)
@given(late_streams())
def test_maxima_agree_with_asking_every_time_about_what_is_late(tallies: list[Tally]) -> None:
    assert_the_most(BRIEF, tallies)


def test_what_comes_late_is_part_of_the_most() -> None:
    maxima = Maxima(BRIEF, UTC)
    maxima.count(LATE)
    assert of_limit(maxima.seen(), LIMIT).most.tolist() == [15]


def known(counts: list[int], days: int, only: str | None = "account_send_rate") -> tuple[Maxima, Watching]:
    """Each account sends its count once a day."""
    maxima = Maxima(RULES, UTC, only)
    watching = Watching(RULES, maxima, 1000)
    for day in range(days):
        batch = [sends(f"u{n}", MIDNIGHT + day * DAY + n, count) for n, count in enumerate(counts)]
        watching.count(batch, day)
    return maxima, watching


def suggested(counts: list[int], days: int, budget: float, cases: tuple[Case, ...] = (), seed: int = 0) -> Suggestion:
    maxima, watching = known(counts, days)
    seen = of_limit(maxima.seen(), LIMIT)
    return suggest(seen, honest(watching.suspects, cases), len(maxima.days), budget, seed)


def test_a_known_quantile_is_found_again() -> None:
    counts = list(range(1, 201))  # 1 % of 200 accounts may reach the limit: those with 199 and 200
    found = suggested(counts, 10, 0.01)
    assert (found.count, found.most, found.reached, found.subjects, found.subject_days) == (199, 200, 0, 200, 2000)
    assert found.low <= found.count <= (found.high or 0)
    assert (found.certainty, found.days, found.needed) == ("good", 10, 1000)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    watched = of_limit(Maxima(RULES, UTC).seen(), LIMIT).watched
    random, number = np.random.default_rng(7), 2000
    truth = 30  # of this distribution 0.9 ** 29 = 4.7 % reach 30, and 5.2 % reach 29
    names = {f"u{n}": n for n in range(number)}
    hits = 0
    for trial in range(40):
        seen = Seen(watched, names, np.arange(number), random.geometric(0.1, number), np.ones(number, np.int64))
        found = suggest(seen, honest({}, ()), 7, 0.05, trial)
        assert found.high is not None
        hits += found.low <= truth <= found.high
    assert hits >= 35


def test_the_seed_is_all_the_chance_there_is() -> None:
    counts = np.random.default_rng(3).geometric(0.05, 500).tolist()
    assert suggested(counts, 2, 0.02, seed=5) == suggested(counts, 2, 0.02, seed=5)


def test_too_little_data_is_said() -> None:
    found = suggested(list(range(1, 101)), 9, 0.001)
    assert (found.certainty, found.high, found.needed) == ("too little data", None, 10_000)
    few = suggested([0] * 195 + [5] * 5, 7, 0.1)  # hardly anybody sends at all
    assert few.certainty == "good"  # 35 subject-days do
    assert suggested([0] * 199 + [5], 7, 0.1).certainty == "too little data"


def test_less_than_a_week_is_rough_at_best() -> None:
    assert suggested(list(range(1, 201)), 6, 0.05).certainty == "rough"


def test_suspects_of_other_rules_are_not_honest_but_those_of_the_rule_itself_are() -> None:
    maxima, watching = known([700, 5, 5], 1)
    assert watching.suspects == {("account", "u0"): {"account_send_rate"}}
    seen = of_limit(maxima.seen(), LIMIT)
    assert honest(watching.suspects, ())(seen).tolist() == [True, True, True]
    alike = {("account", "u0"): {"account_send_rate", "account_send_surge"}}  # both count messages
    assert honest(alike, ())(seen).tolist() == [True, True, True]
    others = {("account", "u0"): {"account_send_rate", "foreign_senders"}, ("ip", "u1"): {"ip_accused"}}
    assert honest(others, ())(seen).tolist() == [False, True, True]
    cases = parse_cases("subject,label\nu0,honest\nu2,abused\nnobody,abused\n", "c.csv")
    assert honest(others, cases)(seen).tolist() == [True, True, False]


def test_toml_is_a_rules_file_and_keeps_what_is_not_known(tmp_path: Path) -> None:
    maxima, watching = known(list(range(1, 201)), 10)
    is_honest = honest(watching.suspects, ())
    found = [suggest(seen, is_honest, len(maxima.days), 0.01, 0) for seen in maxima.seen()]
    text = as_toml(found, 0.01)
    limits = tomllib.loads(text)["rules"]["account_send_rate"]["limits"]
    assert limits == {"home": ["199 messages / 10m", "199 recipients / 1h", "199 recipients / 24h"]}
    path = tmp_path / "new.toml"
    path.write_text(text)
    rules = build(load(path), "JP")
    kept = load(None).rules["account_send_rate"].limits
    assert rules.file.rules["account_send_rate"].limits == kept | limits


def test_toml_without_data_says_so() -> None:
    maxima, _ = known([1], 1)
    found = [suggest(seen, honest({}, ()), 1, 0.0001, 0) for seen in maxima.seen()]
    text = as_toml(found, 0.0001)
    assert "Too little data for any limit: 10,000" in text
    assert tomllib.loads(text) == {}


@pytest.mark.parametrize(("window", "text"), [(60, "7 x / 1m"), (86400, "7 x / 24h"), (90, "7 x / 90s")])
def test_limits_are_written_as_they_are_read(window: int, text: str) -> None:
    assert limit_text(Limit(1, "x", window), 7) == text
