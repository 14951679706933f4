"""What subjects do, day by day, found in worker processes, and the limits that this suggests."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

from pipeline.adapters.trials.reading import Progress, Spool, all_read
from pipeline.analysis import Period
from pipeline.ports import RowStore
from pipeline.rules.config import load
from pipeline.trials.backtest import Accusation, count_accounts, count_others, route
from pipeline.trials.cases import Case
from pipeline.trials.maxima import Maxima, Seen, Watching, joined
from pipeline.trials.plan import PARTITIONS, Plan, Portion, StoredEvents
from pipeline.trials.suggest import BUDGET, Habits, Suspects, suggest_all

COLUMNS = [
    *("rule", "kind", "group", "metric", "minutes", "in_force", "suggested", "low", "high"),
    *("most", "reached", "subject_days", "certainty"),
]


@dataclass(frozen=True)
class _Part:
    """The same of one partition's accounts, or of all else there. ``days``: ordinals."""

    seen: list[Seen]
    suspects: Suspects
    days: set[int]
    accusations: list[Accusation]


def observe(
    plan: Plan, zone: tzinfo, only: str | None, jobs: int, progress: Progress, store: RowStore | None = None
) -> Habits:
    """Of a plan with one rule set. ``zone``: whose days count; ``only``: the id of the one rule to watch; ``store``:
    that of the plan's stored events, if it is open already. Raises what ``all_read`` raises."""
    portions = plan.portions
    with all_read(plan, jobs, progress, store) as read:
        watch = partial(_watch, plan, zone, only, read.spool)
        first = read.map("accounts", watch, [(portion, None) for portion in portions])
        accused = route([accusation for part in first for accusation in part.accusations], PARTITIONS)
        second = read.map("networks", watch, [(portion, accused[portion[1]]) for portion in portions])
    parts = first + second
    suspects = {subject: rules for part in parts for subject, rules in part.suspects.items()}
    days = set[int]().union(*(part.days for part in parts))
    return Habits(joined([part.seen for part in parts]), suspects, len(days), read.counts.lines, read.counts.doubled)


def _watch(
    plan: Plan, zone: tzinfo, only: str | None, spool: Spool, task: tuple[Portion, list[Accusation] | None]
) -> _Part:
    """In a worker. The accounts of a portion, or, with accusations, all else."""
    portion, accusations = task
    (rules,) = plan.built()
    maxima = Maxima(rules, zone, only, plan.start)
    watching = Watching(rules, maxima, rules.file.subjects_of_one(PARTITIONS))
    frames = spool.frames(portion, accounts=accusations is None)
    if accusations is None:
        (counted,) = count_accounts(frames, [watching])
    else:
        (counted,) = count_others(frames, [watching], [accusations])
    return _Part(maxima.seen(), watching.suspects, maxima.days, counted.accusations)


def suggested_limits(
    store: RowStore,
    period: Period,
    budget: float = BUDGET,
    home: str = "JP",
    *,
    rules: Path | None = None,
    only: str | None = None,
    cases: Sequence[Case] = (),
) -> pd.DataFrame:
    """What ``sekimori suggest --stored`` says of a store that is open, for notebooks: a row for each limit.

    ``budget``: part of honest subjects that each limit may hit on a day. ``rules``: the rules file in force, if not the
    shipped one; ``only``: the id of one rule; ``cases``: known ones. Days are those of the period's zone.

    * ``rule``, ``kind`` (of subject), ``group`` (all, home, abroad, or a country), ``metric``, ``minutes`` (of the
      window): which limit. ``in_force``, ``suggested``, ``low``, ``high``: within the window. With too little data
      ``suggested`` is what is in force, and the 95 % interval is not a number.
    * ``most``: seen within the window; ``reached``: honest subject-days that reach the limit in force, of
      ``subject_days``; ``certainty``: good, rough, or too little data.

    Raises RulesError, and what ``observe`` raises.
    """
    plan = Plan(StoredEvents("the store"), (load(rules),), home, period.since.timestamp(), period.until.timestamp())
    habits = observe(plan, ZoneInfo(period.zone), only, os.cpu_count() or 1, lambda what, part: None, store)
    rows = []
    for one in suggest_all(habits, cases, budget):
        interval = (one.low, one.high) if one.high is not None else (None, None)
        which = (one.rule, one.kind, one.group, one.limit.metric, one.limit.window / 60)
        told = (one.most, one.reached, one.subject_days, one.certainty)
        rows.append((*which, one.limit.count, one.advised, *interval, *told))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"low": "Int64", "high": "Int64"})
