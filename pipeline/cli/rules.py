"""``sekimori rules``: what there is, what is in force, and whether a rules file is right."""

from pathlib import Path

import click
from rich.console import Console

from pipeline.cli.common import FILE, clear_errors, rules_in_force
from pipeline.cli.configured import or_setting, settings_in_force
from pipeline.cli.terminal import json_option, plain_table, print_json
from pipeline.rules import RULES, RuleSet
from pipeline.rules.config import default_text


@click.group()
def rules() -> None:
    """Shows the rules, and checks a rules file."""


@rules.command("list")
@click.argument("file", type=FILE, required=False)
@json_option("One rule a line.")
def list_(file: Path | None, as_json: bool) -> None:
    """What each rule catches, whom it can hurt, what it does, its limits: as shipped, or with FILE laid over."""
    in_force = _load(or_setting(file, lambda settings: settings.rules))
    rows = [
        {
            "rule": rule.id,
            "version": rule.version,
            "mode": _mode(in_force, rule.id),
            "action": in_force.file.rules[rule.id].action,
            "for": in_force.file.rules[rule.id].for_,
            "limits": in_force.file.rules[rule.id].limits,
            "catches": rule.catches,
            "hurts": rule.hurts,
            "misuse": rule.misuse,
        }
        for rule in RULES
    ]
    if as_json:
        for row in rows:
            print_json(row)
        return
    table = plain_table("rule", "does", "limits", "why, and whom it can hurt", whole=("rule",))
    table.row_styles = ["", "dim"]
    for row in rows:
        limits = in_force.file.rules[str(row["rule"])].limits
        shown = "\n".join(f"{group}: {', '.join(texts)}" for group, texts in limits.items())
        why = f"{row['catches']}\nHurts: {row['hurts']}\nMisuse: {row['misuse']}"
        mode = "" if row["mode"] == "enforce" else f" ({row['mode']})"
        table.add_row(str(row["rule"]), f"{row['action']} {row['for']}{mode}", shown, why)
    Console().print(table)


@rules.command()
@click.argument("file", type=FILE)
def check(file: Path) -> None:
    """Is FILE right? Says what is wrong, and exits with 1, if not."""
    _load(file)
    click.echo(f"{file}: right")


@rules.command()
def default() -> None:
    """Prints the shipped rules file, to start a file of your own from."""
    click.echo(default_text(), nl=False)


def _mode(in_force: RuleSet, rule: str) -> str:
    mode = in_force.file.rules[rule].mode
    return "shadow" if in_force.file.mode == "shadow" and mode == "enforce" else mode


def _load(file: Path | None) -> RuleSet:
    with clear_errors():
        return rules_in_force(file, settings_in_force().home)
