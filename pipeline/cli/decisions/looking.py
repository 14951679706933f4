"""``decisions show`` and ``allowlist``: what is known of a subject, and what is allowed."""

import re
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from pipeline.adapters.kafka.decisions import DecisionTopics
from pipeline.cli.decisions.common import kind_option, pass_topics, typed
from pipeline.cli.terminal import json_option, print_rows, printable
from pipeline.subjects import concerns, subject_of_key
from schemas.codec import encode
from schemas.kinds import SubjectKind
from schemas.setting import Setting

ID = re.compile("[0-9a-f]{8,32}")
"""Of a decision, or its begin, as mail servers tell it to who is refused."""


@click.command()
@click.argument("subject")
@kind_option
@json_option("One JSON object.")
@pass_topics
def show(topics: DecisionTopics, subject: str, kind: SubjectKind | None, as_json: bool) -> None:
    """Shows all about SUBJECT: decisions with evidence, allowlist entries, and who lifted what.

    SUBJECT may also be the id of a decision, or the 8 digits of it that a refused client was told.
    """
    known = topics.decisions()
    if kind is None and ID.fullmatch(subject):
        found = [d for d in known if d.id.startswith(subject)]
        if not found:
            raise click.ClickException(
                f"no decision has an id that begins with {subject}: it was lifted, or is over and gone (the store knows"
                " it); for an account of that name say so with --kind account"
            )
        answer: dict[str, list[Any]] = {"decision": found}
    else:
        wanted = typed(subject, kind)
        answer = {
            "decision": [d for d in known if concerns((d.subject_kind, d.subject), wanted)],
            "allow": [s for s in topics.allowlist() if concerns((s.subject_kind, s.subject), wanted)],
            "lifted": [
                t for t in topics.lifted() if (of := subject_of_key(t["key"])) is not None and concerns(of, wanted)
            ],
        }
    if as_json:
        click.echo(msgspec.json.encode(answer))
        return
    if not any(answer.values()):
        click.echo(f"Nothing is known about {printable(subject)}.", err=True)
    for name, items in answer.items():
        for item in items:
            click.echo(f"{name}:")
            _print_fields(msgspec.to_builtins(item), "  ")


def _print_fields(fields: dict[str, Any], indent: str) -> None:
    for name, value in fields.items():
        if isinstance(value, dict) and value:
            click.echo(f"{indent}{name}:")
            _print_fields(value, indent + "  ")
        elif isinstance(value, list) and value:
            click.echo(f"{indent}{name}:")
            for item in value:
                click.echo(f"{indent}  {printable(str(item))}")
        elif value not in ([], {}, None, ""):
            click.echo(f"{indent}{name}: {printable(str(value))}")


@click.command()
@json_option("One settings message a line.")
@pass_topics
def allowlist(topics: DecisionTopics, as_json: bool) -> None:
    """Lists what operators allowed; what the rules file allows (``[allow]``) holds besides."""
    now = datetime.now(UTC)
    entries = sorted(topics.allowlist(), key=lambda s: (s.issued_at, s.key))
    if as_json:
        for entry in entries:
            click.echo(encode(entry))
    elif entries:
        print_rows(("subject", "kind", "until (UTC)", "by", "why"), [_cells(s, now) for s in entries])
    else:
        click.echo("Operators allowed nothing.", err=True)


def _cells(s: Setting, now: datetime) -> tuple[str, ...]:
    until = "for ever" if s.expires_at is None else f"{s.expires_at:%Y-%m-%d %H:%M}"
    over = " (over)" if s.expires_at is not None and s.expires_at <= now else ""
    return s.subject, s.subject_kind, until + over, s.actor, s.note
