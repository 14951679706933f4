"""Windows against a slow, obvious model, and the margin against asking every rule at every tally."""

import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.detect.allowlist import Allowlist
from pipeline.detect.detector import Detector, Findings
from pipeline.rules import RULES, RuleSet, build
from pipeline.rules.config import load
from pipeline.rules.rule import Rule
from pipeline.windows import state as windows
from pipeline.windows.peers import NOBODY, digest, pack_network
from pipeline.windows.state import (
    ENTRY,
    HEAD,
    LATENESS,
    MAX_ENTRIES,
    SLOT,
    Origin,
    Weights,
    add,
    compact,
    entries,
    latest,
    make_origin,
    new_state,
)
from pipeline.windows.view import METRICS, View
from schemas.tally import Tally

START = 1_795_485_000
LENGTHS = (60, 65, 300, 600, 660, 1800, 3600, 4200, 6 * 3600, 86400)
COUNTRIES = {"": "", "198.18.0.1": "JP", "198.18.0.2": "JP", "203.0.113.9": "BR", "2001:db8:1::/64": "CN"}
SENDERS = ("a@x.example", "b@x.example", "c@x.example")


def origin(peer: str) -> Origin:
    return make_origin(COUNTRIES[peer].encode().ljust(2, b"\0"), pack_network(peer) if peer else NOBODY)


@dataclass
class Model:
    """Every tally in a list. A window of that length holds whole steps: the one that ``end`` lies in, and those
    before it that make up its length."""

    tallies: list[Tally] = field(default_factory=list)

    @property
    def end(self) -> int:
        return max(int(t.at) // SLOT * SLOT for t in self.tallies)

    def within(self, length: int, end: int, tallies: list[Tally]) -> list[Tally]:
        step = 5 if length <= 600 else 60 if length <= 3600 else 600
        last = end // step
        return [t for t in tallies if last - length // step < int(t.at) // step <= last]

    def count(self, metric: str, length: int, end: int) -> int:
        found = self.within(length, end, self.tallies)
        errors = [t for t in found if t.errors or t.errors_mta or t.errors_sasl]
        used = {t.peer for t in self.tallies if t.successes and t.peer}
        match metric:
            case "messages" | "recipients" | "failed" | "webmail":
                return sum(getattr(t, metric) for t in found)
            case "errors":
                return self.errors(errors)
            case "guesses":
                return self.errors([t for t in errors if t.peer not in used])
            case "failing_sources":
                return len({t.peer for t in errors} - used - {""})
            case "senders":
                return len({s for t in found for s in t.senders})
            case "accusers":
                return len({t.peer for t in found if t.accused})
        last_used = {p: max((t for t in self.tallies if t.peer == p and t.successes), key=lambda t: t.at) for p in used}
        recent = {t.peer for t in self.within(length, end, list(last_used.values()))}
        return len({COUNTRIES[p] for p in recent}) if metric == "countries" else len(recent)

    def errors(self, tallies: list[Tally]) -> int:
        by_mta_or_sasl = max(sum(t.errors_mta for t in tallies), sum(t.errors_sasl for t in tallies))
        return sum(t.errors for t in tallies) + by_mta_or_sasl


MODELLED = (
    "messages", "recipients", "failed", "webmail", "errors", "guesses", "failing_sources", "senders", "accusers",
    "sources", "countries",
)  # fmt: skip
ANY_END = frozenset(MODELLED) - {"sources", "countries"}


def tallies(rng: random.Random, number: int, gaps: tuple[float, ...], most: int = 3) -> list[Tally]:
    """A random life of one account."""
    now, made = float(START), []
    for _ in range(number):
        now += rng.choice(gaps) * rng.random()
        at = now if rng.random() < 0.7 else max(0.0, now - rng.choice((4, 20, 90, 590, 700, 5000)) * rng.random())
        tally = Tally("account", "a@x.example", rng.choice(list(COUNTRIES)), "", at)
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


def agree(state: bytes, model: Model, rng: random.Random) -> None:
    end, earlier = model.end, model.end - rng.randint(0, LATENESS // SLOT) * SLOT
    assert latest(state) * SLOT == end
    for at, metrics in ((end, MODELLED), (earlier, ANY_END)):
        view = View(entries(state), at // SLOT, NOBODY, b"JP")
        for length in LENGTHS:
            for name in metrics:
                metric = METRICS[name]
                counted = metric.count(view, view.window(metric.kind, length))
                assert counted == model.count(name, length, at), (name, length, end - at)
                assert counted <= view.bound(name)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    gaps=st.sampled_from(((1.0,), (5.0, 40.0), (2.0, 600.0), (1.0, 30.0, 7200.0), (60.0, 40000.0), (100.0, 50_000.0))),
    most=st.sampled_from((1, 3, 10_000)),
)
def test_every_window_counts_what_a_list_of_everything_counts(seed: int, gaps: tuple[float, ...], most: int) -> None:
    rng, model, state = random.Random(seed), Model(), new_state()
    for tally in tallies(rng, 120, gaps, most):
        if model.tallies and tally.at < model.end - LATENESS:
            tally.at = float(model.end - LATENESS)
        model.tallies.append(tally)
        add(state, tally, origin(tally.peer), Weights())
        if rng.random() < 0.04:
            compact(state, latest(state))
        if rng.random() < 0.04:
            state = bytearray(bytes(state))
        if rng.random() < 0.03:
            agree(state, model, rng)
    agree(state, model, rng)


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_what_is_too_late_never_counts_twice_nor_in_a_later_window(seed: int) -> None:
    rng, model, state = random.Random(seed), Model(), new_state()
    for tally in tallies(rng, 100, (30.0, 3000.0)):
        tally.at -= rng.choice((0, 0, 0, 2 * 86400))
        model.tallies.append(tally)
        add(state, tally, origin(tally.peer), Weights())
    view = View(entries(state), latest(state), NOBODY, b"JP")
    for length in LENGTHS:
        for name in ("messages", "recipients", "failed", "errors", "senders", "accusers"):
            metric = METRICS[name]
            assert metric.count(view, view.window(metric.kind, length)) == model.count(name, length, model.end)


def test_counters_that_are_full_go_on_in_another_entry() -> None:
    state, model = new_state(), Model()
    for n in range(40):
        tally = Tally("account", "a@x.example", "198.18.0.1", "JP", START + n // 20, messages=50_000, recipients=60_000)
        model.tallies.append(tally)
        add(state, tally, origin(tally.peer), Weights())
    agree(state, model, random.Random(1))
    for later in (1500, 5000, 86000):
        compact(state, latest(state) + later // SLOT)
        view = View(entries(state), latest(state), NOBODY, b"JP")
        assert METRICS["messages"].count(view, view.window(windows.SEND, 86400)) == 2_000_000


def test_one_tally_beyond_what_a_counter_holds_is_counted_full() -> None:
    state = new_state()
    add(state, Tally("system", "*", "", "", START, errors=100_000), make_origin(bytes(2), NOBODY), Weights())
    assert entries(state)[0][4] == 65535


def test_memory_of_one_subject_is_bounded_and_sums_stay() -> None:
    state, steps = new_state(), 6_000
    for n in range(steps):
        peer = make_origin(b"JP", n.to_bytes(8, "big"))
        add(
            state,
            Tally("account", "a", "x", "JP", START + n / 50, messages=1, recipients=2, successes=1),
            peer,
            Weights(),
        )
        assert len(state) < HEAD + 4 * MAX_ENTRIES * ENTRY.size
    compact(state, latest(state))
    view = View(entries(state), latest(state), NOBODY, b"JP")
    assert METRICS["messages"].count(view, view.window(windows.SEND, 86400)) == steps
    assert METRICS["sources"].count(view, view.window(windows.SEEN, 86400)) == MAX_ENTRIES


def test_compaction_is_rare_also_for_a_subject_that_is_as_large_as_it_may_be() -> None:
    state = new_state()
    for n in range(3 * MAX_ENTRIES):
        peer = make_origin(b"JP", (n % MAX_ENTRIES).to_bytes(8, "big"))
        add(state, Tally("ip", "203.0.113.9", "x", "JP", START + n / 20, messages=1, successes=1), peer, Weights())
    compactions, before = 0, len(state)
    for n in range(3 * MAX_ENTRIES, 4 * MAX_ENTRIES):
        peer = make_origin(b"JP", (n % MAX_ENTRIES).to_bytes(8, "big"))
        add(state, Tally("ip", "203.0.113.9", "x", "JP", START + n / 20, messages=1, successes=1), peer, Weights())
        compactions, before = compactions + (len(state) < before), len(state)
    assert compactions <= 8


def test_a_source_is_known_for_thirty_days() -> None:
    state = new_state()
    add(state, Tally("account", "a", "x", "JP", START, successes=1), origin("198.18.0.1"), Weights())
    compact(state, latest(state) + windows.KNOWN)
    assert View(entries(state), latest(state), NOBODY, b"JP").known_sources() == ["198.18.0.1"]
    compact(state, latest(state) + windows.KNOWN + 1)
    assert entries(state) == []


def test_digests_stand_for_names_of_any_kind() -> None:
    assert len({digest(name) for name in ("", "a", "A", "\udcff".encode("utf-8", "replace").decode(), "é")}) == 5


# --- the margin -----------------------------------------------------------------------------------------------------

METRIC_WINDOWS = ("1m", "5m", "10m", "30m", "1h", "2h", "24h")
GROUPS = ("all", "home", "abroad", "CN", "JP")


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
    return at_once(build(load(path), "JP"))


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


def subjects(rng: random.Random, number: int, gaps: tuple[float, ...]) -> list[Tally]:
    """Random tallies of some accounts, networks, countries and the system."""
    made = tallies(rng, number, gaps, rng.choice((1, 3)))
    for tally in made:
        kind = rng.choice(("account", "account", "ip", "country", "system"))
        if kind == "account":
            tally.subject = rng.choice(("a@x.example", "b@x.example"))
            tally.accused = 0
        elif kind == "ip":
            tally.subject = rng.choice([peer for peer in COUNTRIES if peer])
            tally.country, tally.senders = COUNTRIES[tally.subject], ()
            tally.peer = rng.choice(("", "a@x.example", "b@x.example", "c@x.example"))
        elif kind == "country":
            tally.subject = tally.country = rng.choice(("JP", "BR", "CN"))
            tally.peer, tally.accused, tally.successes, tally.senders = "", 0, 0, ()
        else:
            tally.subject, tally.peer, tally.country = "*", "", ""
            tally.accused, tally.successes, tally.senders = 0, 0, ()
        tally.kind = kind
    return made


def copied(tally: Tally) -> Tally:
    return Tally(*(getattr(tally, name) for name in Tally.__struct_fields__))


def told(findings: Findings) -> tuple[list[str], list[tuple[str, str, float]]]:
    return (
        sorted(f"{d.id} {d.issued_at} {d.reason} {d.expires_at} {d.parameters}" for d in findings.decisions),
        sorted((t.subject, t.peer, t.at) for t in findings.accusations),
    )


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
    nobody = Allowlist(rules.file.allow)
    rarely, always = Detector(rules, nobody), Detector(rules, nobody)
    for position, tally in enumerate(subjects(rng, 120, gaps)):
        always.use(rules, nobody)  # forgets every margin
        wanted = told(always.count([tally], position))
        assert told(rarely.count([tally], position)) == wanted, (position, tally)
