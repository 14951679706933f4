"""What operators lift, as the topic ``enforcement`` says it: a decision that was released does not come back by itself.

When the restriction of a rule is lifted, its episode ends, and what was done until then is not asked about again: not
by that rule, nor by another that restricts the subject at that time in no way. What is done from then on is judged at
the normal limits, as of somebody of whom nothing is known but the networks that he uses. Pure: a release is an input.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, get_args

from pipeline.detect.decide import Episode, is_running
from pipeline.detect.judge import ask_at_next_tally
from pipeline.detect.shard import Shard, shard_of
from pipeline.rules import RULES, RuleSet
from pipeline.windows.layout import SLOT, latest
from pipeline.windows.state import mark
from schemas.enforcement import MANUAL, split_key
from schemas.tally import CountedKind

SKEW: Final = 300  # seconds that a decision may be dated after it was lifted: clocks differ

_KINDS: Final[dict[str, CountedKind]] = {kind: kind for kind in get_args(CountedKind)} | {"prefix": "ip"}
_ACCUSING = tuple(rule.id for rule in RULES if "accusers" in rule.metrics)


class Released(NamedTuple):
    """``rule``'s restriction of ``subject`` was lifted at ``at``, seconds since 1970, by the clock of who did it.

    ``since``, ``until``: when it held, in event time; None where the tombstone does not tell.
    """

    rule: str
    kind: CountedKind
    subject: str
    at: float
    since: float | None = None
    until: float | None = None


def release_of(key: str, at: float, since: float | None = None, until: float | None = None) -> Released | None:
    """By the key of a tombstone. None where rules have nothing to do with it: what operators decided themselves, or no
    key at all."""
    try:
        kind, rule, subject = split_key(key)
    except ValueError:
        return None
    if rule == MANUAL or kind not in _KINDS:
        return None
    return Released(rule, _KINDS[kind], subject, at, since, until)


def counted_from(release: Released, episode: Episode | None, reached: float) -> float | None:
    """From when on the subject is counted anew, in event time; None if the release is older than the episode.

    That is when it was released. But if the restriction did not hold at that time at all, the lines are old ones, as of
    a replayed log, whose time is not that of operators: then it is as far as had been counted, ``reached``.
    """
    if episode is not None and episode.since > release.at + SKEW:
        return None
    since, until = release.since, release.until
    if (since is None or until is None) and episode is not None:
        since, until = episode.since, episode.until
    is_over = until is not None and until <= release.at
    return max(reached if is_over else release.at, since or 0.0)


def lifted(episode: Episode | None, at: float, released_at: float) -> Episode:
    """The rule's episode, ended at ``at`` (event time) by a release."""
    if episode is None:
        return Episode(0.0, at, 0, set(), at, released_at)
    return Episode(episode.since, min(episode.until, at), 0, set(), max(at, episode.counted_from), released_at)


def spared(episode: Episode | None, at: float) -> Episode | None:
    """The episode of another rule about the subject; None if it restricts the subject, and so goes on."""
    if episode is None:
        return Episode(0.0, 0.0, 0, set(), at)
    if is_running(episode, at):
        return None
    return Episode(
        episode.since, episode.until, episode.strikes, set(), max(at, episode.counted_from), episode.released_at
    )


class Reached:
    """How far a partition was counted, by when its messages were written: event times by the broker's."""

    KEPT: Final = 1024

    def __init__(self) -> None:
        self._known: list[tuple[float, float]] = []  # (time of the message, latest event until then), both rising

    def note(self, written: float, event: float) -> None:
        """A message written at that time held an event of that time, seconds since 1970."""
        known = self._known
        if known and event <= known[-1][1]:
            return
        known.append((max(written, known[-1][0]) if known else written, event))
        if len(known) > 2 * self.KEPT:
            del known[: self.KEPT]

    def at(self, time: float) -> float | None:
        """The latest event of the messages written until then; None if nothing is known of that time."""
        found = None
        for written, event in self._known:
            if written > time:
                break
            found = event
        return found


def release(shards: Sequence[Shard], rules: RuleSet, released: Released, reached: float | None) -> bool:
    """Ends the episode and marks from where on is counted. False if it was known already. See ``Detector.release``."""
    rule, kind, subject, at = released[:4]
    shard = shard_of(shards, subject)
    state, episode = shard.states[kind].get(subject), shard.episodes.get((rule, kind, subject))
    if episode is not None and at <= episode.released_at:
        return False
    if reached is None:
        reached = float(latest(state) * SLOT) if state is not None else 0.0
    since = counted_from(released, episode, reached)
    if since is None:
        return False
    shard.dirty = True
    shard.episodes[rule, kind, subject] = lifted(episode, since, at)
    if state is not None:
        for active in rules.by_kind[kind]:
            key = (active.rule.id, kind, subject)
            other = spared(shard.episodes.get(key), since) if active.rule.id != rule else None
            if other is not None:
                shard.episodes[key] = other
        mark(state, int(since) // SLOT)
        ask_at_next_tally(state)
    if kind == "ip":
        _look_again(shards, subject)
    return True


def _look_again(shards: Sequence[Shard], network: str) -> None:
    """It may be accused anew."""
    for shard in shards:
        for (_, kind, subject), episode in shard.episodes.items():
            if network in episode.looked_at:
                episode.looked_at.discard(network)
                shard.dirty = True
                if (state := shard.states[kind].get(subject)) is not None:
                    ask_at_next_tally(state)


def accused_from(shards: Sequence[Shard], network: str) -> int:
    """The last slot for which the network is not to be accused: it was released then. 0: it never was."""
    episodes = shard_of(shards, network).episodes
    return max((e.mark for rule in _ACCUSING if (e := episodes.get((rule, "ip", network)))), default=0)
