"""What subjects do, day by day, found in worker processes: what limits are suggested from."""

from dataclasses import dataclass
from datetime import tzinfo
from functools import partial

from pipeline.adapters.trials.reading import Progress, Spool, all_read
from pipeline.trials.backtest import Accusation, count_accounts, count_others, route
from pipeline.trials.maxima import Maxima, Seen, Watching, joined
from pipeline.trials.plan import PARTITIONS, Plan, Portion
from pipeline.trials.suggest import Suspects


@dataclass(frozen=True)
class Habits:
    """``seen``: of each limit of the rules. ``days``: how many there are data of. ``lines``: read."""

    seen: list[Seen]
    suspects: Suspects
    days: int
    lines: int


@dataclass(frozen=True)
class _Part:
    """The same of one partition's accounts, or of all else there. ``days``: ordinals."""

    seen: list[Seen]
    suspects: Suspects
    days: set[int]
    accusations: list[Accusation]


def observe(plan: Plan, zone: tzinfo, only: str | None, jobs: int, progress: Progress) -> Habits:
    """Of a plan with one rule set. ``zone``: whose days count; ``only``: the id of the one rule to watch. Raises what
    ``all_read`` raises."""
    portions = plan.portions
    with all_read(plan, jobs, progress) as read:
        watch = partial(_watch, plan, zone, only, read.spool)
        first = read.map("accounts", watch, [(portion, None) for portion in portions])
        accused = route([accusation for part in first for accusation in part.accusations], PARTITIONS)
        second = read.map("networks", watch, [(portion, accused[portion[1]]) for portion in portions])
    parts = first + second
    suspects = {subject: rules for part in parts for subject, rules in part.suspects.items()}
    days = set[int]().union(*(part.days for part in parts))
    return Habits(joined([part.seen for part in parts]), suspects, len(days), read.counts.lines)


def _watch(
    plan: Plan, zone: tzinfo, only: str | None, spool: Spool, task: tuple[Portion, list[Accusation] | None]
) -> _Part:
    """In a worker. The accounts of a portion, or, with accusations, all else."""
    portion, accusations = task
    (rules,) = plan.built()
    maxima = Maxima(rules, zone, only, plan.start)
    watching = Watching(rules, maxima, max(1, rules.file.subjects // PARTITIONS))
    frames = spool.frames(portion, accounts=accusations is None)
    if accusations is None:
        (counted,) = count_accounts(frames, [watching])
    else:
        (counted,) = count_others(frames, [watching], [accusations])
    return _Part(maxima.seen(), watching.suspects, maxima.days, counted.accusations)
