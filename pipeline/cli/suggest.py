"""``sekimori suggest``: limits from data, for a wanted false-positive budget."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import click

from pipeline.adapters.trials.suggest import observe
from pipeline.cli.common import doubles_notes, rules_in_force, rules_option
from pipeline.cli.terminal import json_option, parts_progress, plain_table, print_json, safe, table_console
from pipeline.cli.trial import PIPED, Trial, trial_errors, trial_options
from pipeline.rules import RULES
from pipeline.trials.suggest import BUDGET, Suggestion, as_toml, limit_text, suggest_all


def _part(ctx: click.Context, param: click.Parameter, value: str) -> float:
    try:
        part = float(Fraction(value.replace(" ", "")))
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter(f"{value!r} is no part such as 1/10000 or 0.0001") from None
    if not 0 < part < 1:
        raise click.BadParameter("it must lie between 0 and 1, both left out")
    return part


@click.command()
@click.option(
    "--false-positives",
    "budget",
    callback=_part,
    default=f"1/{1 / BUDGET:.0f}",
    show_default=True,
    help="Part of honest accounts (or networks) that each limit may hit on a day.",
)
@click.option("--rule", "only", type=click.Choice([rule.id for rule in RULES]), help="Only this rule's limits.")
@rules_option("The rules file in force; else the shipped rules.")
@trial_options
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the drawing of subjects.")
@json_option("One JSON object for each limit, in place of TOML and table.")
def suggest(budget: float, only: str | None, rules_path: Path | None, trial: Trial, seed: int, as_json: bool) -> None:
    """Proposes limits: for each, the smallest that few enough honest accounts reach.

    FILES are logs of any known format, plain or packed, of a week or more; without any, stored events are taken.
    The rules file that comes out goes to standard output, and how sure each limit is to standard error. Try it with
    `sekimori backtest` before use.
    """
    with trial_errors():
        rules = rules_in_force(rules_path, trial.home).file
        cases = trial.cases()
        with parts_progress() as progress:
            found = observe(trial.plan((rules,)), trial.zone, only, trial.jobs, progress)
    suggestions = suggest_all(found, cases, budget, seed)
    if as_json:
        for one in suggestions:
            print_json(one)
    else:
        _print(suggestions)
        click.echo(as_toml(suggestions, budget), nl=False)
    for note in doubles_notes(found.doubled):
        click.echo(note, err=True)
    trial.note()


def _print(found: Sequence[Suggestion]) -> None:
    console = table_console(PIPED, stderr=True)
    names = ("rule", "limit in force", "most seen", "reach it", "suggested", "95 %", "certainty")
    table = plain_table(*names, right=("most seen", "reach it"))
    last = ""
    for one in found:
        rule = one.rule if one.rule.startswith(one.kind) else f"{one.rule} ({one.kind})"
        sure = one.high is not None
        row = (
            rule if rule != last else "",
            f"{one.group}: {limit_text(one.limit, one.limit.count)}",
            f"{one.most:,}",
            f"{one.reached:,} of {one.subject_days:,}",
            f"{one.count:,}" if sure else "-",
            f"{one.low:,} to {one.high:,}" if sure else "-",
            one.certainty,
        )
        table.add_row(*map(safe, row))
        last = rule
    console.print(table)
    if found:
        console.print(_data(found), markup=False, highlight=False)


def _data(found: Sequence[Suggestion]) -> str:
    """How much there is to go by, in a sentence or two."""
    days = found[0].days
    kinds = {one.kind: one for one in found}
    subjects = ", ".join(
        f"{kind}: {one.subjects:,} honest, {one.subject_days:,} subject-days" for kind, one in kinds.items()
    )
    text = (
        f"{days} day{'s' if days != 1 else ''} of data; {subjects}. Certain from {found[0].needed:,} subject-days on."
    )
    if days < 7:
        text += " Fewer than 7 days: no weekly habit is seen."
    if any(one.certainty == "too little data" for one in found):
        text += " Where there are too little data, the limit stays as it is."
    return text
