"""Runs a backtest in worker processes: what was read, then each partition's accounts, networks, and the effects."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from pipeline.adapters.trials.reading import Progress, Spool, all_read
from pipeline.adapters.trials.spool import load_decisions, save_decisions
from pipeline.trials.backtest import Accusation, Counted, count_accounts, count_others, detector, route
from pipeline.trials.cases import Case
from pipeline.trials.effects import Effects, measure
from pipeline.trials.plan import PARTITIONS, Plan, Portion
from schemas.enforcement import Decision


@dataclass
class Outcome:
    """Of one rule set: decisions in the order of time, and what they do. ``subjects``: how many were counted."""

    decisions: list[Decision] = field(default_factory=list)
    effects: Effects = field(default_factory=Effects)
    subjects: int = 0


@dataclass
class Backtest:
    """All of it. ``outcomes``: in the order of the rule sets."""

    outcomes: list[Outcome]
    lines: int = 0
    ignored: int = 0
    unreadable: int = 0


def run(plan: Plan, cases: Sequence[Case], jobs: int, progress: Progress) -> Backtest:
    """Counts under each rule set, in ``jobs`` processes. Raises what ``all_read`` raises."""
    pieces = plan.pieces
    with all_read(plan, jobs, progress) as read:
        accounts = read.map("accounts", partial(_count_accounts, plan, read.spool), pieces)
        accused = _route(plan, pieces, accounts)
        tasks = [(piece, [accused[n][piece[1]] for n in plan.sharing(piece[0])]) for piece in pieces]
        others = read.map("networks", partial(_count_others, plan, read.spool), tasks)
        outcomes = _outcomes(plan, pieces * 2, accounts + others)
        save_decisions(read.spool.folder, [outcome.decisions for outcome in outcomes])
        measured = read.map("effects", partial(_measure, plan, read.spool, cases), pieces)
    for (variant, _), found in zip(pieces, measured, strict=True):
        for number, effects in zip(plan.sharing(variant), found, strict=True):
            outcomes[number].effects.add(effects)
    for outcome in outcomes:  # only now: what was restricted before the start stops mail after it
        outcome.decisions = [d for d in outcome.decisions if d.issued_at.timestamp() >= plan.start]
    counts = read.counts
    return Backtest(outcomes, counts.lines, counts.ignored, counts.unreadable)


def _count_accounts(plan: Plan, spool: Spool, piece: Portion) -> list[Counted]:
    built = plan.built()
    return count_accounts(
        spool.frames(piece, accounts=True), [detector(built[n], PARTITIONS) for n in plan.sharing(piece[0])]
    )


def _count_others(plan: Plan, spool: Spool, task: tuple[Portion, list[list[Accusation]]]) -> list[Counted]:
    piece, accusations = task
    built = plan.built()
    detectors = [detector(built[n], PARTITIONS) for n in plan.sharing(piece[0])]
    return count_others(spool.frames(piece, accounts=False), detectors, accusations)


def _measure(plan: Plan, spool: Spool, cases: Sequence[Case], piece: Portion) -> list[Effects]:
    decided = load_decisions(spool.folder)
    frames = spool.frames(piece, accounts=True)
    return measure(frames, [decided[n] for n in plan.sharing(piece[0])], cases, plan.start)


def _route(plan: Plan, pieces: Sequence[Portion], counted: Sequence[list[Counted]]) -> list[list[list[Accusation]]]:
    """Rule set -> partition -> accusations."""
    found: list[list[Accusation]] = [[] for _ in plan.rules]
    for (variant, _), of_piece in zip(pieces, counted, strict=True):
        for number, of_rules in zip(plan.sharing(variant), of_piece, strict=True):
            found[number] += of_rules.accusations
    return [route(accusations, PARTITIONS) for accusations in found]


def _outcomes(plan: Plan, pieces: Sequence[Portion], counted: Sequence[list[Counted]]) -> list[Outcome]:
    outcomes = [Outcome() for _ in plan.rules]
    for (variant, _), of_piece in zip(pieces, counted, strict=True):
        for number, of_rules in zip(plan.sharing(variant), of_piece, strict=True):
            outcomes[number].decisions += of_rules.decisions
            outcomes[number].subjects += of_rules.subjects
    for outcome in outcomes:
        outcome.decisions = sorted(outcome.decisions, key=lambda d: (d.issued_at, d.key))
    return outcomes
