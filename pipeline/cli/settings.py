"""``sekimori settings``: what is in force, and where each comes from."""

from dataclasses import fields

import click

from pipeline.adapters.stores.address import shown_address
from pipeline.cli.configured import with_origins
from pipeline.cli.terminal import json_option, plain_table, print_json, safe, table_console
from pipeline.settings import SECRETS, Settings

PIPED = 160  # columns where there is no terminal


@click.command()
@json_option("One setting a line.")
def settings(as_json: bool) -> None:
    """Shows the settings in force, and where each comes from: environment, file or default. Secrets are not shown."""
    in_force, origins = with_origins()
    rows = [
        {"setting": field.name, "value": _shown(in_force, field.name), "from": origins[field.name]}
        for field in fields(Settings)
    ]
    if as_json:
        for row in rows:
            print_json(row)
        return
    table = plain_table("setting", "value", "from", whole=("setting", "from"))
    for row in rows:
        table.add_row(*map(safe, row.values()))
    table_console(PIPED).print(table)


def _shown(in_force: Settings, name: str) -> str:
    value = getattr(in_force, name)
    if name == "clickhouse":
        return shown_address(value)
    if name in SECRETS:
        return "(hidden)" if value else ""
    return "" if value is None else str(value)
