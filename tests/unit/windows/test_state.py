"""Windows against a slow, obvious model: all of METRICS, over a list of every tally."""

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.windows.layout import (
    ACCUSED,
    ENTRY,
    ERROR,
    HEAD,
    KNOWN,
    LATENESS,
    MAX_ENTRIES,
    SEEN,
    SEND,
    SENDER,
    SLOT,
    Entry,
    entries,
    latest,
    new_state,
)
from pipeline.windows.metrics import METRICS
from pipeline.windows.origins import make_origin
from pipeline.windows.peers import NOBODY, digest, pack_network
from pipeline.windows.state import ALL, Weights, add, compact
from pipeline.windows.view import View
from schemas.tally import Tally
from tests.support.lives import COUNTRIES, START, origin, tallies

LENGTHS = (60, 65, 300, 600, 660, 1800, 3600, 4200, 6 * 3600, 86400)


def is_within(length: int, end: int, at: int) -> bool:
    step = 5 if length <= 600 else 60 if length <= 3600 else 600
    return end // step - length // step < at // step <= end // step


@dataclass
class Model:
    """Every tally in a list. A window of that length holds whole steps: the one that ``end`` lies in, and those
    before it that make up its length."""

    tallies: list[Tally] = field(default_factory=list)

    @property
    def end(self) -> int:
        return max(int(t.at) // SLOT * SLOT for t in self.tallies)

    def within(self, length: int, end: int, tallies: list[Tally]) -> list[Tally]:
        return [t for t in tallies if is_within(length, end, int(t.at))]

    def entries(self) -> list[Entry]:
        """An entry for everything that was ever done, and one for each network that the account was used from."""
        made: list[Entry] = []
        for t in self.tallies:
            slot, where, peer = int(t.at) // SLOT, *origin(t.peer)[:2]
            if t.messages or t.failed:
                made.append((slot, SEND, where, peer, t.messages, t.recipients, t.failed, t.webmail))
            if t.errors or t.errors_mta or t.errors_sasl:
                made.append((slot, ERROR, where, peer, t.errors, t.errors_mta, t.errors_sasl, 0))
            if t.accused:
                made.append((slot, ACCUSED, where, peer, 1, 0, 0, 0))
            made += [(slot, SENDER, where, digest(sender), 1, 0, 0, 0) for sender in t.senders]
        made += [(int(t.at) // SLOT, SEEN, *origin(t.peer)[:2], 0, 0, 0, 0) for t in self.last_used()]
        return made

    def last_used(self) -> list[Tally]:
        """The latest success of each network."""
        return list({t.peer: t for t in sorted(self.tallies, key=lambda t: t.at) if t.successes and t.peer}.values())

    def means(self, metric: str, length: int, end: int) -> int | None:
        """The same in other words; None for a metric that these are no words for."""
        found = self.within(length, end, self.tallies)
        errors = [t for t in found if t.errors or t.errors_mta or t.errors_sasl]
        used = {t.peer for t in self.last_used()}
        recent = {t.peer for t in self.within(length, end, self.last_used())}
        match metric:
            case "messages" | "recipients" | "failed" | "webmail":
                return sum(getattr(t, metric) for t in found)
            case "errors":
                return self.errors(errors)
            case "guesses":
                return self.errors([t for t in errors if t.peer not in used])
            case "failing_sources" | "failing_accounts":
                return len({t.peer for t in errors} - used - {""})
            case "senders":
                return len({s for t in found for s in t.senders})
            case "accusers":
                return len({t.peer for t in found if t.accused})
            case "sources":
                return len(recent)
            case "countries":
                return len({COUNTRIES[p] for p in recent})
        return None

    def errors(self, tallies: list[Tally]) -> int:
        by_mta_or_sasl = max(sum(t.errors_mta for t in tallies), sum(t.errors_sasl for t in tallies))
        return sum(t.errors for t in tallies) + by_mta_or_sasl


def agree(state: bytes, model: Model, rng: random.Random) -> None:
    """Of every metric that there is: does it count what it counts of entries that nobody merged, dropped or made
    coarser? Of those that have words of their own above: does it mean that?"""
    end, earlier = model.end, model.end - rng.randint(0, LATENESS // SLOT) * SLOT
    assert latest(state) * SLOT == end
    everything = model.entries()
    for at in (end, earlier):
        view, obvious = (View(found, at // SLOT, NOBODY, b"JP") for found in (entries(state), everything))
        for length in LENGTHS:
            within = [e for e in everything if is_within(length, at, e[0] * SLOT)]
            for name, metric in METRICS.items():
                counted = metric.within(view, length)
                expected = metric.counts(obvious, [e for e in within if e[1] == metric.entries])
                assert counted == expected, (name, length, end - at)
                assert counted <= metric.bound(view)
                if metric.entries != SEEN or at == end:  # of a network only the latest success is kept
                    assert model.means(name, length, at) in (None, counted)


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
            assert metric.within(view, length) == model.means(name, length, model.end)


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
        assert METRICS["messages"].within(view, 86400) == 2_000_000


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
    assert METRICS["messages"].within(view, 86400) == steps
    assert METRICS["sources"].within(view, 86400) == MAX_ENTRIES


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
    compact(state, latest(state) + KNOWN)
    assert View(entries(state), latest(state), NOBODY, b"JP").known_sources() == ["198.18.0.1"]
    compact(state, latest(state) + KNOWN + 1)
    assert entries(state) == []


def test_what_looks_like_a_tag_across_two_entries_is_none() -> None:
    """A network that is chosen so, and two counters, read like the tag of another network."""
    country, peer = b"BR", pack_network("2001:db8:1:2::/64")
    for kind, tally in (
        (ERROR, Tally("account", "a", "2001:db8:1:2::/64", "BR", START, errors=1)),
        (SEEN, Tally("account", "a", "2001:db8:1:2::/64", "BR", START, successes=1)),
    ):
        state, messages, recipients = (
            new_state(),
            int.from_bytes(peer[4:6], "little"),
            int.from_bytes(peer[6:], "little"),
        )
        hostile = Tally("account", "a", "", "BR", START, messages=messages, recipients=recipients)
        add(state, hostile, make_origin(country, kind + country + peer[:4]), Weights())
        assert kind + country + peer in state
        assert add(state, tally, make_origin(country, peer), Weights(failing_source=1.0, source=1.0)) == ALL
        assert (kind, country, peer) in {entry[1:4] for entry in entries(state)}


def test_digests_stand_for_names_of_any_kind() -> None:
    assert len({digest(name) for name in ("", "a", "A", "\udcff".encode("utf-8", "replace").decode(), "é")}) == 5
