"""``sekimori rules``: what there is, what is in force, and whether a rules file is right."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from pipeline.rules import RULES, RuleSet, build
from pipeline.rules.config import RulesError, default_text, load

_FILE = click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)


@click.group()
def rules() -> None:
    """Shows the rules, and checks a rules file."""


@rules.command("list")
@_FILE
@click.option("--json", "as_json", is_flag=True, help="One rule a line.")
def list_(file: Path | None, as_json: bool) -> None:
    """What each rule catches, what it does, its limits: as shipped, or with FILE laid over."""
    in_force = _load(file)
    rows = [
        {
            "rule": rule.id,
            "version": rule.version,
            "mode": in_force.file.rules[rule.id].mode,
            "action": in_force.file.rules[rule.id].action,
            "for": in_force.file.rules[rule.id].for_,
            "limits": in_force.file.rules[rule.id].limits,
            "catches": rule.catches,
            "hurts": rule.hurts,
        }
        for rule in RULES
    ]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    table = Table(box=None, header_style="bold", pad_edge=False, row_styles=["", "dim"])
    for name in ("rule", "does", "limits", "catches"):
        table.add_column(name, overflow="fold", no_wrap=name == "rule")
    for row in rows:
        limits = in_force.file.rules[str(row["rule"])].limits
        shown = "\n".join(f"{group}: {', '.join(texts)}" for group, texts in limits.items())
        mode = "" if row["mode"] == "enforce" else f" ({row['mode']})"
        table.add_row(str(row["rule"]), f"{row['action']} {row['for']}{mode}", shown, str(row["catches"]))
    Console().print(table)


@rules.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def check(file: Path) -> None:
    """Is FILE right? Says what is wrong, and exits with 1, if not."""
    _load(file)
    click.echo(f"{file}: right")


@rules.command()
def default() -> None:
    """Prints the shipped rules file, to start a file of your own from."""
    click.echo(default_text(), nl=False)


def _load(file: Path | None) -> RuleSet:
    try:
        return build(load(file), "JP", str(file or "default.toml"))
    except RulesError as error:
        raise click.ClickException(str(error)) from None
