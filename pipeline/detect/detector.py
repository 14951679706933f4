"""Tallies -> decisions: windows, rules and decide for the subjects of one partition.

Subjects are grouped in shards. A shard is saved as one compact value together with the position up to which it has
counted; positions at or below are skipped when they come again, so that nothing is counted twice, whenever a job was
killed. Two kinds of repetition are told apart: the same message read again (``position``), and a message written again
by a normaliser that had been killed (``source`` and ``offset`` of the raw frame that it was made from).
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from zlib import crc32

from pipeline.detect.allowlist import Allowlist, Ours
from pipeline.detect.brake import Brakes, HourlyBrake, held, hurts_customers
from pipeline.detect.decide import Episode, Verdict, asking, decide, following, is_running, open_episode
from pipeline.detect.judge import Judge, Look, ask_at_next_tally
from pipeline.detect.release import Released, accused_from, release
from pipeline.detect.shard import KINDS, SHARDS, SavedShard, Shard, check_number
from pipeline.rules import RuleSet
from pipeline.rules.rule import Accuses
from pipeline.sources import Sources
from pipeline.windows.layout import SEEN, SEND, SLOT, entries, has_entries_of, latest, new_state
from pipeline.windows.origins import Origins
from pipeline.windows.peers import NOBODY, unpack_network
from pipeline.windows.state import ACCUSE, ALL, add
from pipeline.windows.view import View
from schemas.enforcement import Decision
from schemas.tally import CountedKind, Tally
from schemas.times import DAY

EVICT_SHARE = 20  # one in so many subjects of a full shard goes at once
ALLOWED_QUIET = 600  # seconds until an allowlisted subject is judged again
MAX_ACCUSED = 512  # networks that one episode accuses


@dataclass
class Findings:
    """What came of a batch: decisions, accusations (tallies for the accused networks), what was let pass, and
    whether its frame was counted before (``repeated``) or claims to be far ahead of what was (``ahead``). ``held``:
    which of the decisions the brake holds, or would hold."""

    decisions: list[Decision] = field(default_factory=list)
    accusations: list[Tally] = field(default_factory=list)
    allowed: int = 0
    held: list[Decision] = field(default_factory=list)
    repeated: int = 0
    ahead: int = 0


class Detector:
    """Counts and judges one partition of ``tallies``, or all of them (``brakes`` has as many). ``limit``: subjects
    remembered. ``holds``: what the brake finds is held, else only told."""

    def __init__(
        self,
        rules: RuleSet,
        allowlist: Allowlist,
        limit: int = 4_000_000,
        *,
        holds: bool = False,
        brakes: Brakes | None = None,
    ) -> None:
        self.rules = rules
        self.allowlist = allowlist
        self._brakes = brakes or Brakes()
        self._holds = holds
        self._ours = Ours(rules)
        self._judge = Judge(rules)
        self._limit = max(1, limit // SHARDS)
        self._shards = [Shard() for _ in range(SHARDS)]
        self._sources = Sources()
        self._origins: dict[CountedKind, Origins] = {kind: Origins() for kind in KINDS}
        self.evicted = 0
        self.position = -1

    @property
    def brake(self) -> HourlyBrake:
        """That of the partition."""
        return self._brakes.single

    def count(self, tallies: Iterable[Tally], position: int, source: str = "", offset: int = 0) -> Findings:
        """Counts a batch. ``position``: of the message in this partition; ``source``, ``offset``: of the raw frame
        that it was made from ("" for none). Pure but for the state that it keeps."""
        findings = Findings()
        self.position = position
        place = self._sources.count(source, offset) if source else "next"
        if place == "again":
            findings.repeated += 1
            return findings
        findings.ahead += place == "ahead"
        shards, origins, weights, home = self._shards, self._origins, self._judge.weights, self._judge.at_home
        for tally in tallies:
            kind, subject, country = tally.kind, tally.subject, tally.country
            shard = shards[crc32(subject.encode()) >> 8 & SHARDS - 1]
            if position <= shard.position:
                continue
            state = shard.states[kind].get(subject) or self._new(shard, kind, subject)
            shard.dirty = True
            origin = origins[kind].get((country, tally.peer)) or origins[kind].remember(tally)
            at_home, abroad = weights[kind]
            asked = add(state, tally, origin, at_home if country in home else abroad)
            if asked == ALL:
                self._look(shard, tally, state, origin.peer, findings)
            elif asked == ACCUSE:
                self._accuse_peer(shard, tally, state, origin.peer, findings)
        return findings

    def _new(self, shard: Shard, kind: CountedKind, subject: str) -> bytearray:
        if sum(map(len, shard.states.values())) >= self._limit:
            self._evict(shard)
        return shard.states[kind].setdefault(subject, new_state())

    def _look(self, shard: Shard, tally: Tally, state: bytearray, peer: bytes, findings: Findings) -> None:
        """Asks each rule about the subject, unless a restriction of that rule is running. Where one fires, an episode
        begins; while one runs, networks are accused, if the rule does that."""
        look = Look(state, tally, peer, self._judge.home)
        for question in self._judge.questions[tally.kind]:
            active = question.active
            key = (active.rule.id, tally.kind, tally.subject)
            episode = shard.episodes.get(key)
            if not is_running(episode, tally.at):
                verdict = look.ask(question, *((episode.mark, episode.until) if episode is not None else ()))
                if verdict is None:
                    continue
                episode = shard.episodes[key] = self._open(verdict, tally, episode, state, findings)
            assert episode is not None
            runs = look.restricted(episode.until) and not (episode.is_lifted or episode.held)
            if runs and active.config.accuse and active.rule.accuses:
                look.accuse(episode.until)
                if not self.allowlist.covers(tally):
                    now = look.since(episode.mark)
                    self._accuse(active.rule.accuses, episode, now, now.peers, tally, findings)
        look.close()

    def _accuse_peer(self, shard: Shard, tally: Tally, state: bytearray, peer: bytes, findings: Findings) -> None:
        """While a restriction runs: is the tally's network one more that misuses or attacks the account?"""
        if self.allowlist.covers(tally):
            return
        for active in self.rules.by_kind[tally.kind]:
            if active.config.accuse and active.rule.accuses is not None:
                episode = shard.episodes.get((active.rule.id, tally.kind, tally.subject))
                if episode is None or episode.is_lifted or episode.held or tally.peer in episode.looked_at:
                    continue
                if len(episode.looked_at) >= MAX_ACCUSED:
                    continue
                if int(episode.until) // SLOT > latest(state):
                    view = View(entries(state), latest(state), peer, self._judge.home, since=episode.mark)
                    self._accuse(active.rule.accuses, episode, view, (peer,), tally, findings)

    def _open(
        self, verdict: Verdict, tally: Tally, before: Episode | None, state: bytearray, findings: Findings
    ) -> Episode:
        if self.allowlist.covers(tally) or (verdict.active.config.action != "notify" and self._ours.covers(tally)):
            findings.allowed += 1
            strikes = before.strikes if before is not None else 0
            return following(before, tally.at, tally.at + ALLOWED_QUIET, strikes)
        episode = open_episode(verdict.active, before, tally.at)
        decision, at = decide(verdict, tally, episode, self.rules.home), tally.at
        if verdict.active.config.action != "notify" and self._ours.may_be_gateway(tally, entries(state)):
            findings.decisions.append(asking(decision))
            return episode
        if hurts_customers(verdict, tally, entries(state)) and self._brakes.holds(
            self.rules.file.brake, decision, at, lambda: self.active_accounts(at)
        ):
            findings.held.append(decision)
            episode.held = self._holds
            decision = held(decision) if self._holds else decision
        findings.decisions.append(decision)
        return episode

    def active_accounts(self, at: float) -> int:
        """About so many accounts were used in the day before: all are looked at, or of many the first shards."""
        sample = self._shards if self.subjects() < 100_000 else self._shards[:2]
        since = int(at - DAY) // SLOT
        accounts = (state for shard in sample for state in shard.states["account"].values())
        used = sum(latest(state) > since and has_entries_of(state, SEEN, SEND) for state in accounts)
        return used * SHARDS // len(sample)

    def _accuse(
        self, accuses: Accuses, episode: Episode, view: View, peers: Iterable[bytes], tally: Tally, findings: Findings
    ) -> None:
        """Reports networks that misuse or attack the account, each once in an episode."""
        if len(episode.looked_at) >= MAX_ACCUSED:
            return
        for peer in sorted(set(peers) - {NOBODY}):
            network = unpack_network(peer)
            if network in episode.looked_at:
                continue
            if accuses(view.later(accused_from(self._shards, network)), peer):
                country = view.country_of.get(peer, b"").decode()
                findings.accusations.append(
                    Tally("ip", network, tally.subject, country, tally.at, accused=1, samples=tally.samples)
                )
            elif not view.is_owners(peer):
                continue
            episode.looked_at.add(network)

    def release(self, releases: Iterable[Released], reached: float | None = None) -> int:
        """Ends what operators lifted, see ``detect.release``; returns how many of these were new.

        ``reached``: the latest event time that had been counted then; None: as far as the subject was counted. Networks
        are to be told of to the detectors of all partitions, since accounts accuse them.
        """
        return sum(release(self._shards, self.rules, released, reached) for released in releases)

    def _evict(self, shard: Shard) -> None:
        """Makes room: those first that never succeeded, were never restricted, are the longest quiet, in that order.
        Restrictions that still run are not forgotten."""
        restricted = {(kind, subject) for _, kind, subject in shard.episodes}
        states = {(kind, subject): state for kind, of in shard.states.items() for subject, state in of.items()}

        def worth(key: tuple[CountedKind, str]) -> tuple[bool, bool, int]:
            return has_entries_of(states[key], SEEN, SEND), key in restricted, latest(states[key])

        now = max(map(latest, states.values())) * SLOT
        evicted = set(heapq.nsmallest(len(states) // EVICT_SHARE + 1, states, key=worth))
        for kind, subject in evicted:
            del shard.states[kind][subject]
        for episode, of in list(shard.episodes.items()):
            if episode[1:] in evicted and not is_running(of, now):
                del shard.episodes[episode]
        self.evicted += len(evicted)

    def subjects(self) -> int:
        """How many are remembered."""
        return sum(len(states) for shard in self._shards for states in shard.states.values())

    def restart(self, position: int) -> None:
        """Messages after ``position`` are others than those that were counted: none of them is left out."""
        self.position = position
        for shard in self._shards:
            shard.position = min(shard.position, position)
        self.renew()

    def renew(self) -> None:
        """Every shard counts as changed."""
        for shard in self._shards:
            shard.dirty = True

    def sources(self) -> bytes:
        """Which raw frames of each source are counted. Saved after the shards of a checkpoint, as it was
        before them; see ``load_sources``."""
        return self._sources.dump()

    def load_sources(self, saved: bytes) -> None:
        """Inverse of ``sources``. Raises msgspec.DecodeError, ValueError."""
        self._sources.load(saved)

    def dump(self, number: int) -> bytes | None:
        """One shard (0 to ``SHARDS`` - 1), compressed, with the position it has counted to; None if unchanged."""
        shard = self._shards[number]
        if not shard.dirty:
            return None
        shard.dirty, shard.position = False, max(shard.position, self.position)
        self._forget_episodes(shard)
        episodes = [(*key, episode) for key, episode in shard.episodes.items()]
        return SavedShard(shard.position, shard.states, episodes, self.rules.fingerprint).dump()

    def _forget_episodes(self, shard: Shard) -> None:
        """Drops what no longer counts as a repetition, whatever may still come late."""
        longest = max((a.decay for rules in self.rules.by_kind.values() for a in rules), default=0)
        horizon = max((e.since for e in shard.episodes.values()), default=0.0) - longest - DAY
        shard.episodes = {k: e for k, e in shard.episodes.items() if max(e.until, e.counted_from) > horizon}

    def load(self, number: int, dumped: bytes) -> None:
        """Inverse of ``dump``. Raises zlib.error, msgspec.DecodeError, ValueError."""
        check_number(number)
        saved = SavedShard.load(dumped)
        states = {kind: saved.states.get(kind, {}) for kind in KINDS}
        episodes = {(rule, kind, subject): episode for rule, kind, subject, episode in saved.episodes}
        shard = self._shards[number] = Shard(saved.position, False, states, episodes)
        if saved.rules != self.rules.fingerprint:
            _ask_again(shard)

    def use(self, rules: RuleSet, allowlist: Allowlist) -> None:
        """New rules or a new allowlist: every subject is judged at its next tally."""
        self.rules, self.allowlist, self._judge, self._ours = rules, allowlist, Judge(rules), Ours(rules)
        for shard in self._shards:
            _ask_again(shard)


def _ask_again(shard: Shard) -> None:
    for states in shard.states.values():
        for state in states.values():
            ask_at_next_tally(state)
