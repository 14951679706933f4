"""Runs a backtest in worker processes: what was read, then each partition's accounts, networks, and the effects."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.adapters.trials.reading import AllRead, Progress, Spool, all_read
from pipeline.adapters.trials.spool import load_decisions, save_decisions
from pipeline.replay import LineCounts
from pipeline.trials.backtest import Accusation, Counted, count_accounts, count_active, count_others, detector, route
from pipeline.trials.braking import Moment, by_hour, moments, would_hold
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
        _ask_brakes(plan, read, tried)
        save_decisions(read.spool.folder, [of_rules.decisions for of_rules in tried])
        measured = plan.by_rule_set(read.map("effects", partial(_measure, plan, read.spool, cases), portions))
    for of_rules, effects in zip(tried, measured, strict=True):
        for part in effects:
            of_rules.effects.add(part)
        of_rules.leave_out_before(plan.start)  # only now: what was restricted before the start stops mail after it
    return Backtest(tried, read.counts)


def _ask_brakes(plan: Plan, read: AllRead, tried: Sequence[Tried]) -> None:
    """What they would hold. Accounts are counted again only where that depends on how many are active."""
    asked = [moments(t.customers, file.brake, plan.brakes) for t, file in zip(tried, plan.rules, strict=True)]
    counted: list[list[list[int]]] = [[] for _ in tried]
    if any(asked):
        counted = plan.by_rule_set(
            read.map("the brake", partial(_count_active, plan, read.spool, asked), plan.portions)
        )
    for of_rules, file, at, active in zip(tried, plan.rules, asked, counted, strict=True):
        told = by_hour(at, active)
        of_rules.would_hold = would_hold(of_rules.customers, told, file.brake, plan.brakes, plan.start)


def _count_accounts(plan: Plan, spool: Spool, portion: Portion) -> list[Counted]:
    built = plan.built()
    detectors = [detector(built[n], PARTITIONS) for n in plan.group(portion[0])]
    return count_accounts(spool.frames(portion, accounts=True), detectors)


def _count_active(plan: Plan, spool: Spool, asked: Sequence[Sequence[Moment]], portion: Portion) -> list[list[int]]:
    built, group = plan.built(), plan.group(portion[0])
    detectors = [detector(built[n], PARTITIONS) for n in group]
    return count_active(spool.frames(portion, accounts=True), detectors, [asked[n] for n in group])


def _count_others(plan: Plan, spool: Spool, task: tuple[Portion, list[list[Accusation]]]) -> list[Counted]:
    portion, accusations = task
    built = plan.built()
    detectors = [detector(built[n], PARTITIONS) for n in plan.group(portion[0])]
    return count_others(spool.frames(portion, accounts=False), detectors, accusations)


def _measure(plan: Plan, spool: Spool, cases: Sequence[Case], portion: Portion) -> list[Effects]:
    decided = load_decisions(spool.folder)
    frames = spool.frames(portion, accounts=True)
    return measure(frames, [decided[n] for n in plan.group(portion[0])], cases, plan.start)
