"""Counting, judging and remembering of one partition."""

import random
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import MAX_ACCUSED, Detector, Findings
from pipeline.detect.granted import Granted
from pipeline.detect.shard import SHARDS
from pipeline.rules import RuleSet, build
from pipeline.rules.config import Allow, load
from schemas.tally import CountedKind, Tally
from tests.support.lives import random_rules, subjects, told

AT = 1_795_485_000.0
ALICE = "alice@x.example"


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return build(load(None), "JP")


def detector(rules: RuleSet, limit: int = 4_000_000) -> Detector:
    return Detector(rules, Allowlist(rules.file.allow), limit)


def messages(
    number: int, at: float = AT, subject: str = ALICE, peer: str = "198.51.100.7", country: str = "BR"
) -> Tally:
    return Tally("account", subject, peer, country, at, messages=number, recipients=number, successes=number)


def errors(number: int, at: float = AT, subject: str = "198.51.100.9", peer: str = ALICE, country: str = "BR") -> Tally:
    return Tally("ip", subject, peer, country, at, errors=number)


def reasons(findings: Findings) -> list[tuple[str, str]]:
    return [(d.rule, d.subject) for d in findings.decisions]


@dataclass
class Saved:
    """What a job keeps of a detector: of each shard what was dumped last."""

    shards: dict[int, bytes] = field(default_factory=dict)
    sources: bytes = b""

    def save(self, detector: Detector) -> None:
        self.sources = detector.sources()
        dumps = {number: detector.dump(number) for number in range(SHARDS)}
        self.shards |= {number: dumped for number, dumped in dumps.items() if dumped is not None}

    def load(self, detector: Detector) -> Detector:
        for number, dumped in self.shards.items():
            detector.load(number, dumped)
        detector.load_sources(self.sources)
        return detector


def moved(old: Detector, new: Detector) -> Detector:
    """Everything that ``old`` would save, loaded into ``new``."""
    saved = Saved()
    saved.save(old)
    return saved.load(new)


# --- one decision for an episode ------------------------------------------------------------------------------------


def test_an_episode_has_one_decision_and_the_next_one_begins_when_it_has_run_out(rules: RuleSet) -> None:
    judge, found = detector(rules), []
    for n in range(60 * 24):
        found += judge.count([messages(3, AT + n * 60)], n).decisions
    rate = [d for d in found if d.rule == "account_send_rate"]
    hours = [(d.issued_at.timestamp() - AT, (d.expires_at - d.issued_at).total_seconds()) for d in rate]
    assert hours == [(360.0, 6 * 3600.0), (360.0 + 6 * 3600, 12 * 3600.0), (360.0 + 18 * 3600, 24 * 3600.0)]
    assert [d.reason.endswith("in a row") for d in rate] == [False, True, True]
    assert len({d.id for d in rate}) == 3
    assert len({d.key for d in rate}) == 1


def test_a_late_line_completes_a_window_that_is_over(rules: RuleSet) -> None:
    judge = detector(rules)
    judge.count([messages(10), messages(1, AT + 1100)], 0)
    (decision,) = judge.count([messages(10, AT + 540)], 1).decisions
    assert decision.rule == "account_send_rate"
    assert decision.issued_at.timestamp() == AT + 540


def test_what_is_later_than_lateness_is_counted_but_not_judged(rules: RuleSet) -> None:
    judge = detector(rules)
    judge.count([messages(19), messages(1, AT + 3000)], 0)
    assert judge.count([messages(19, AT + 1)], 1).decisions == []
    assert reasons(judge.count([messages(21, AT + 3001)], 2)) == [("account_send_rate", ALICE)]


def test_the_allowlist_is_heard_and_counted(rules: RuleSet) -> None:
    judge = Detector(rules, Allowlist(Allow(accounts=[ALICE])))
    first = judge.count([messages(100)], 0)
    assert (first.decisions, first.accusations, first.allowed > 0) == ([], [], True)
    assert judge.count([messages(100, AT + 60)], 1).allowed == 0
    judge.use(rules, Allowlist(Allow()))
    assert reasons(judge.count([messages(100, AT + 700)], 2)) == [("account_send_rate", ALICE)]


def test_stricter_rules_find_what_was_counted_before(rules: RuleSet, tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[rules.account_send_rate.limits]\nabroad = ["5 messages / 10m"]', encoding="utf-8")
    strict = build(load(path), "JP")
    judge = detector(rules)
    assert judge.count([messages(10)], 0).decisions == []
    restarted = moved(judge, detector(strict))
    judge.use(strict, Allowlist(strict.file.allow))
    for one in (judge, restarted):
        assert reasons(one.count([messages(1, AT + 60)], 1)) == [("account_send_rate", ALICE)]


# --- accusations ----------------------------------------------------------------------------------------------------


def test_networks_that_join_in_are_accused_once_each_and_the_owners_never(rules: RuleSet) -> None:
    judge = detector(rules)
    judge.count([messages(1, AT - 8 * 3600, peer="198.18.0.1", country="JP")], 0)
    burst = [messages(5, peer=f"203.0.113.{n}") for n in range(4)]
    accused = judge.count(burst, 1).accusations
    assert {t.subject for t in accused} == {f"203.0.113.{n}" for n in range(4)}
    assert all((t.kind, t.peer, t.accused, t.country) == ("ip", ALICE, 1, "BR") for t in accused)
    again = [messages(1, AT + 1), messages(5, AT + 1, "alice@x.example", "203.0.113.1"), messages(1, AT + 1)]
    assert {t.subject for t in judge.count(again, 2).accusations} == {"198.51.100.7"}
    assert judge.count([messages(1, AT + 2, peer="198.18.0.1", country="JP")], 3).accusations == []


def test_an_account_that_is_allowlisted_while_it_is_restricted_accuses_nobody_more(rules: RuleSet) -> None:
    granted = Granted()
    judge = Detector(rules, Allowlist(rules.file.allow, lambda: granted))
    assert judge.count([messages(5, peer=f"203.0.113.{n}") for n in range(4)], 0).accusations
    granted.grant("account", ALICE, AT + 60)
    assert judge.count([messages(5, AT + 1, peer="203.0.113.7")], 1).accusations == []
    judge.use(rules, judge.allowlist)  # the rules are asked, the restriction goes on
    assert judge.count([messages(5, AT + 2, peer="203.0.113.8")], 2).accusations == []
    late = {t.subject for t in judge.count([messages(5, AT + 61, peer="203.0.113.9")], 3).accusations}
    assert late == {"203.0.113.9"}


def test_accusations_of_one_episode_are_bounded(rules: RuleSet) -> None:
    judge, accused = detector(rules), []
    for n in range(2 * MAX_ACCUSED):
        guess = Tally("account", ALICE, f"203.{n // 256}.113.{n % 256}", "BR", AT + n / 20, errors=1)
        accused += judge.count([guess], n).accusations
    assert MAX_ACCUSED <= len(accused) <= MAX_ACCUSED + 10


# --- repetition and restart -----------------------------------------------------------------------------------------


def test_frames_of_a_source_that_come_again_count_once(rules: RuleSet) -> None:
    judge = detector(rules)
    for position in range(5):
        findings = judge.count([messages(19)], position, "maillog-0", 7)
        assert findings.repeated == (position > 0)
        assert findings.decisions == []
    assert judge.position == 4
    assert reasons(judge.count([messages(1)], 5, "maillog-1", 7)) == [("account_send_rate", ALICE)]


def test_messages_that_are_read_again_count_once(rules: RuleSet) -> None:
    judge = detector(rules)
    for position in range(4):
        judge.count([messages(4), errors(2)], position)
    restarted = moved(judge, detector(rules))
    for position in range(4):
        assert restarted.count([messages(4), errors(2)], position).decisions == []
    assert reasons(restarted.count([messages(4), errors(2)], 4)) == [
        ("account_send_rate", ALICE),
        ("ip_password_errors", "198.51.100.9"),
    ]


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_a_restart_at_any_time_changes_no_later_finding(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = random.Random(seed)
    rules = random_rules(rng, tmp_path_factory.getbasetemp() / "restart.toml")
    one, other, saved = detector(rules), detector(rules), Saved()
    gaps = rng.choice(((2.0, 20.0), (30.0, 7200.0), (60.0, 200000.0)))
    for position, tally in enumerate(subjects(rng, 100, gaps)):
        if rng.random() < 0.2:
            saved.save(other)
            other = saved.load(detector(rules)) if rng.random() < 0.5 else other
        wanted = told(one.count([tally], position))
        assert told(other.count([tally], position)) == wanted, position


def test_what_did_not_change_is_not_saved_again(rules: RuleSet) -> None:
    judge = detector(rules)
    assert [judge.dump(n) for n in range(SHARDS)] == [None] * SHARDS
    judge.count([messages(1)], 0)
    assert sum(judge.dump(n) is not None for n in range(SHARDS)) == 1
    assert [judge.dump(n) for n in range(SHARDS)] == [None] * SHARDS


def test_a_repetition_is_known_however_long_another_restriction_lasts(rules: RuleSet) -> None:
    """Escalation of one subject must not depend on others, nor on how often the state was saved."""
    saved, unsaved = detector(rules), detector(rules)
    found: dict[int, list[str]] = {0: [], 1: []}
    for day in range(30):
        often = [messages(20, AT + day * 86400, f"user{n}@x.example") for n in range(0, 100, 2)]
        seldom = [messages(20, AT + day * 86400, f"user{n}@x.example") for n in range(1, 100, 2) if day % 5 == 0]
        for n, judge in enumerate((saved, unsaved)):
            found[n] += sorted(d.reason + str(d.expires_at) for d in judge.count(often + seldom, day).decisions)
        for number in range(SHARDS):
            saved.dump(number)
    assert found[0] == found[1]
    assert any("time 6 in a row" in reason for reason in found[0])
    assert any("user1@x.example" in reason and "time 5 in a row" in reason for reason in found[0])


@pytest.mark.parametrize("damaged", [b"", b"x", zlib.compress(b"x"), zlib.compress(msgspec.msgpack.encode([1, 2]))])
def test_a_damaged_state_is_noticed(rules: RuleSet, damaged: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, zlib.error)):
        detector(rules).load(0, damaged)


# --- memory ---------------------------------------------------------------------------------------------------------

LIMIT = 48 * SHARDS
FLOOD = 4 * LIMIT
COUNTRIES = ("US", "HK", "DK", "ES", "")  # whatever the bytes of a country are


@pytest.mark.parametrize("attempts", [1, 30])
@pytest.mark.parametrize("kind", ["account", "ip"])
def test_a_flood_of_names_pushes_out_nobody_who_matters(rules: RuleSet, kind: CountedKind, attempts: int) -> None:
    """Neither one of names that are tried once, nor one of names that are tried until they are restricted."""
    judge = detector(rules, LIMIT)
    known = [
        Tally(kind, name(kind, n), name("ip" if kind == "account" else "account", n), "JP", AT, messages=1, successes=1)
        for n in range(15 * SHARDS)
    ]
    guessed = [Tally(kind, name(kind, 10**6), "", "BR", AT + n, errors=30) for n in range(2)]
    assert judge.count([*known, *guessed], 0).decisions
    for n in range(FLOOD):
        peer = name("ip", n % 250) if kind == "account" else "x@x.example"
        tally = Tally(kind, name(kind, 2 * 10**6 + n), peer, COUNTRIES[n % 5], AT + n / 100, errors=attempts)
        tally.errors_mta = (0, 75, 83)[n % 3] if attempts > 1 else 0  # the letters K and S
        judge.count([tally], n + 1)
    assert judge.subjects() <= 2 * LIMIT
    assert judge.evicted >= FLOOD - 2 * LIMIT
    left = {subject for shard in judge._shards for subject in shard.states[kind]}
    assert {t.subject for t in known} <= left
    assert attempts > 1 or guessed[0].subject in left


def test_a_restriction_outlives_its_subjects_counts_and_is_forgotten_later(rules: RuleSet) -> None:
    judge = detector(rules, LIMIT)
    for n in range(4 * LIMIT):
        judge.count([Tally("ip", name("ip", n), ALICE, "BR", AT + n * 3, errors=10)], n)
    assert judge.count([errors(10, AT + 12 * LIMIT, name("ip", 4 * LIMIT - 1))], 4 * LIMIT).decisions == []
    assert sum(len(shard.episodes) for shard in judge._shards) < 2 * LIMIT


def name(kind: str, number: int) -> str:
    if kind == "account":
        return f"user{number}@x.example"
    return f"{60 + (number >> 24)}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def test_where_all_matter_the_longest_quiet_go(rules: RuleSet) -> None:
    judge = detector(rules, LIMIT)
    for n in range(4 * LIMIT):
        judge.count([messages(1, AT + n, name("account", n), country="JP")], n)
    assert judge.subjects() <= LIMIT
    left = {subject for shard in judge._shards for subject in shard.states["account"]}
    assert {name("account", n) for n in range(4 * LIMIT - 32, 4 * LIMIT)} <= left


def test_a_code_that_is_no_country_is_nowhere(rules: RuleSet) -> None:
    judge = detector(rules)
    assert judge.count([messages(100, country=code) for code in ("é", "éé", "BRA", "")], 0).decisions == []
