"""``sekimori backtest``: what another rules file would have done on these logs."""

import time
from pathlib import Path

import click
import msgspec

from pipeline.adapters.trials.backtest import Backtest, run_backtest
from pipeline.cli.common import (
    FILE,
    clock_notes,
    doubles_notes,
    missed_notes,
    refuse_blank,
    rules_in_force,
    rules_option,
)
from pipeline.cli.terminal import json_option, parts_progress, plain_table, print_json, safe, table_console
from pipeline.cli.trial import PIPED, Trial, trial_errors, trial_options
from pipeline.trials.cases import Case
from pipeline.trials.comparison import ChangedDecision, Comparison, Side, put_side_by_side
from pipeline.trials.wording import brake_note, pair_text, side_rows

SHOWN = 100  # rows of a table in the terminal


@click.command()
@click.option("--rules", "rules_path", required=True, type=FILE, help="The rules file to be tried.")
@rules_option("The rules file in force; else the shipped rules.", "--baseline", "baseline")
@trial_options
@json_option("One JSON object in place of tables.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page with charts here.")
def backtest(rules_path: Path, baseline: Path | None, trial: Trial, as_json: bool, html: Path | None) -> None:
    """Shows what another rules file would have done differently.

    FILES are logs of any known format, plain or packed; without any, stored events are taken. They are read once;
    both rules files judge the same counts. What lies before --from is counted (of stored events, 30 days of it), but
    not reported. Nothing is sent anywhere.
    """
    if html and not html.parent.is_dir():
        raise click.BadParameter(f"there is no folder {html.parent}", param_hint="--html")
    with trial_errors():
        rules = tuple(rules_in_force(path, trial.home).file for path in (baseline, rules_path))
        cases = trial.cases()
        plan = trial.plan(rules)
        started = time.monotonic()
        with parts_progress() as progress:
            done = run_backtest(plan, cases, trial.jobs, progress)
        took = time.monotonic() - started
        it = _compared(done, baseline, rules_path, cases)
        if html:
            _write(html, it)
    if as_json:
        print_json(as_data(it))
    else:
        _print(it)
    counts = done.counts
    unread = f"; {counts.ignored:,} of no known format, {counts.unreadable:,} unreadable" if trial.files else ""
    what = "lines" if trial.files else "events"
    speed = f"{counts.lines / max(took, 1e-9):,.0f} {what}/s under two rule sets"
    click.echo(f"{counts.lines:,} {what} in {took:.1f} s ({speed}){unread}", err=True)
    for note in clock_notes(counts) + doubles_notes(counts.doubled) + missed_notes(counts):
        click.echo(note, err=True)
    trial.note()
    refuse_blank(counts.blank)


def _compared(done: Backtest, baseline: Path | None, rules: Path, cases: list[Case]) -> Comparison:
    names = (baseline.name if baseline else "shipped rules"), rules.name
    before, after = done.tried
    return put_side_by_side(names, before, after, cases, done.counts.lines)


def _write(path: Path, it: Comparison) -> None:
    from pipeline.adapters.trials.report import page  # noqa: PLC0415  # drawing takes a second to import

    path.write_text(page(it), encoding="utf-8")


def _print(it: Comparison) -> None:
    console = table_console(PIPED)
    table = plain_table("", it.baseline.name, it.new.name, right=(it.baseline.name, it.new.name))
    for row in side_rows(it):
        table.add_row(*map(safe, row))
    console.print(table)
    if brake_note(it):
        console.print(brake_note(it), highlight=False, markup=False)
    if it.accounts:
        figures = ("messages stopped", "logins stopped")
        accounts = plain_table("account", "known as", "is", *figures, right=figures)
        for c in it.accounts[:SHOWN]:
            messages, logins = (f"{getattr(c.before, n)} → {getattr(c.after, n)}" for n in ("messages", "logins"))
            accounts.add_row(*map(safe, (c.account, c.label, c.turn, messages, logins)))
        console.print(accounts, _more(len(it.accounts)))
    if it.changes:
        figures = ("left", "stopped")
        changes = plain_table("time (UTC)", "change", "rule", "why", *figures, right=figures, whole=("change",))
        for changed in it.changes[:SHOWN]:
            changes.add_row(*map(safe, _cells(changed)))
        console.print(changes, _more(len(it.changes)))
    found = ", ".join(f"{count} {kind}" for kind, count in it.counts().items())
    console.print(f"Decisions: {found}." if found else "No decision differs.")


def _more(rows: int) -> str:
    return f"… and {rows - SHOWN} more (--json shows all)\n" if rows > SHOWN else ""


def _cells(changed: ChangedDecision) -> tuple[str, ...]:
    decision, seconds = changed.change.decision, changed.change.seconds
    kind = changed.change.kind + (f" {seconds:+.0f} s" if seconds else "")
    rule = decision.rule + (" (shadow)" if decision.mode == "shadow" else "")
    figures = (pair_text(changed.before, changed.after, name) for name in ("left", "messages"))
    return f"{decision.issued_at:%m-%d %H:%M:%S}", kind, rule, decision.reason, *figures


def as_data(it: Comparison) -> dict[str, object]:
    """For ``--json``: what ``docs/tuning.md`` describes."""
    return {
        "baseline": _side_data(it.baseline),
        "new": _side_data(it.new),
        "changes": [_change_data(changed) for changed in it.changes],
        "accounts": [msgspec.to_builtins(change) for change in it.accounts],
        "messages": it.messages,
        "subjects": it.subjects,
        "lines": it.lines,
    }


def _side_data(side: Side) -> object:
    return msgspec.to_builtins(side)


def _change_data(changed: ChangedDecision) -> dict[str, object]:
    effects = {
        name: None if effect is None else {key: getattr(effect, key) for key in effect.__struct_fields__}
        for name, effect in (("before", changed.before), ("after", changed.after))
    }
    return {
        "kind": changed.change.kind,
        "seconds": changed.change.seconds,
        "before": msgspec.to_builtins(changed.change.before),
        "after": msgspec.to_builtins(changed.change.after),
        "effects": effects,
    }
