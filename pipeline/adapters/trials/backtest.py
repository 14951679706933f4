"""Runs a backtest in worker processes: what was read, then each partition's accounts, networks, and the effects."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.adapters.trials.reading import Progress, Spool, all_read
from pipeline.adapters.trials.spool import load_decisions, save_decisions
from pipeline.replay import LineCounts
from pipeline.trials.backtest import Accusation, Counted, count_accounts, count_others, detector, route
from pipeline.trials.braking import would_hold
from pipeline.trials.cases import Case
from pipeline.trials.comparison import Tried
from pipeline.trials.effects import Effects, measure
from pipeline.trials.plan import PARTITIONS, Plan, Portion


@dataclass(frozen=True)
class Backtest:
    """``tried``: in the order of the rule sets. ``counts``: of what was read."""

    tried: list[Tried]
    counts: LineCounts


def run_backtest(plan: Plan, cases: Sequence[Case], jobs: int, progress: Progress) -> Backtest:
    """Counts under each rule set, in ``jobs`` processes. Raises what ``all_read`` raises."""
    portions = plan.portions
    with all_read(plan, jobs, progress) as read:
        accounts = plan.by_rule_set(read.map("accounts", partial(_count_accounts, plan, read.spool), portions))
        accused = [route((a for part in parts for a in part.accusations), PARTITIONS) for parts in accounts]
        tasks = [(portion, [accused[n][portion[1]] for n in plan.group(portion[0])]) for portion in portions]
        others = plan.by_rule_set(read.map("networks", partial(_count_others, plan, read.spool), tasks))
        tried = [Tried.of(a + o) for a, o in zip(accounts, others, strict=True)]
        save_decisions(read.spool.folder, [of_rules.decisions for of_rules in tried])
        measured = plan.by_rule_set(read.map("effects", partial(_measure, plan, read.spool, cases), portions))
    for of_rules, rules, a, o in zip(tried, plan.rules, accounts, others, strict=True):
        customers = (customer for part in (*a, *o) for customer in part.customers)
        active = [part.active for part in a]
        of_rules.would_hold = would_hold(customers, active, rules.brake, plan.brakes, plan.start)
    for of_rules, effects in zip(tried, measured, strict=True):
        for part in effects:
            of_rules.effects.add(part)
        of_rules.leave_out_before(plan.start)  # only now: what was restricted before the start stops mail after it
    return Backtest(tried, read.counts)


def _count_accounts(plan: Plan, spool: Spool, portion: Portion) -> list[Counted]:
    built = plan.built()
    detectors = [detector(built[n], PARTITIONS) for n in plan.group(portion[0])]
    return count_accounts(spool.frames(portion, accounts=True), detectors)


def _count_others(plan: Plan, spool: Spool, task: tuple[Portion, list[list[Accusation]]]) -> list[Counted]:
    portion, accusations = task
    built = plan.built()
    detectors = [detector(built[n], PARTITIONS) for n in plan.group(portion[0])]
    return count_others(spool.frames(portion, accounts=False), detectors, accusations)


def _measure(plan: Plan, spool: Spool, cases: Sequence[Case], portion: Portion) -> list[Effects]:
    decided = load_decisions(spool.folder)
    frames = spool.frames(portion, accounts=True)
    return measure(frames, [decided[n] for n in plan.group(portion[0])], cases, plan.start)
