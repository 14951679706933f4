"""A release, done to what a detector remembers; ``release`` says what follows from it."""

from collections.abc import Sequence

from pipeline.detect.judge import ask_at_next_tally
from pipeline.detect.release import Released, counted_from, lifted, spared
from pipeline.detect.shard import Shard, shard_of
from pipeline.rules import RULES, RuleSet
from pipeline.windows.layout import SLOT, latest
from pipeline.windows.state import mark

_ACCUSING = tuple(rule.id for rule in RULES if "accusers" in rule.metrics)


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
