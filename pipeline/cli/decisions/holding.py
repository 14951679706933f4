"""``decisions let-go``: what the brake holds is done after all."""

from datetime import UTC, datetime

import click
import msgspec

from pipeline.adapters.kafka.decisions import DecisionTopics
from pipeline.cli.decisions.common import actor_option, note_option, pass_topics, told
from pipeline.cli.terminal import json_option
from pipeline.detect.brake import let_go
from schemas.codec import encode
from schemas.topics import ENFORCEMENT


@click.command("let-go")
@click.option("--rule", required=True, help="What this rule decided.")
@note_option
@actor_option
@json_option("What is in force now, as JSON.")
@pass_topics
def let_go_(topics: DecisionTopics, rule: str, note: str, actor: str, as_json: bool) -> None:
    """Puts into force what the brake holds of a rule (see ``list --mode shadow``).

    Those that the rule finds later are held as before, as long as there are that many.
    """
    found = [d for d in topics.decisions(datetime.now(UTC)) if d.rule == rule and d.is_held]
    if not found:
        raise click.ClickException(f"the brake holds nothing of rule {rule}")
    made = [msgspec.structs.replace(let_go(d), actor=f"{d.actor}, let go by {actor}: {note}") for d in found]
    for d in made:
        topics.write(ENFORCEMENT.name, d.key, encode(d))
    if as_json:
        click.echo(msgspec.json.encode({"let_go": [d.key for d in made]}))
        return
    for d in made:
        click.echo(told(d))
