"""``decisions list``, ``show`` and ``allowlist``: what holds, and why."""

import re
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from pipeline.adapters.kafka.decisions import DecisionTopics
from pipeline.cli.common import json_option
from pipeline.cli.decisions.common import kind_option, pass_topics, typed
from pipeline.cli.terminal import plain_table, printable, safe, table_console
from pipeline.detect.brake import is_held
from pipeline.networks import Subject
from pipeline.rules import RULES
from pipeline.subjects import concerns, subject_of_key
from schemas.codec import encode
from schemas.enforcement import MANUAL, Decision
from schemas.kinds import SubjectKind
from schemas.setting import Setting

PIPED = 240  # columns where there is no terminal
ID = re.compile("[0-9a-f]{8,32}")
"""Of a decision, or its begin, as mail servers tell it to who is refused."""


@click.command(name="list")
@click.option("--account", help="About this account only.")
@click.option("--ip", "address", help="Holding for this address or prefix only.")
@click.option("--rule", help="Made by this rule only ('manual': by operators).")
@click.option("--mode", type=click.Choice(["enforce", "shadow"]), help="In this mode only.")
@click.option("--all", "everything", is_flag=True, help="Also those whose time is over.")
@json_option("One enforcement message a line.")
@pass_topics
def list_(
    topics: DecisionTopics,
    account: str | None,
    address: str | None,
    rule: str | None,
    mode: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Lists what holds now, the newest last."""
    now = datetime.now(UTC)
    wanted = [typed(account, "account")] if account else []
    wanted += [typed(address, "ip")] if address else []
    known = topics.decisions(None if everything else now)
    found = [
        d
        for d in known
        if all(concerns((d.subject_kind, d.subject), subject) for subject in wanted)
        and rule in {None, d.rule}
        and mode in {None, d.mode}
    ]
    found.sort(key=lambda d: (d.issued_at, d.key))
    if as_json:
        for d in found:
            click.echo(encode(d))
    elif found:
        _print_decisions(found, topics.allowlist(), now)
    if not found:
        given = {"--account": account, "--ip": address, "--rule": rule, "--mode": mode}
        click.echo(_nothing({name: text for name, text in given.items() if text}, everything, len(known)), err=True)


def _nothing(given: dict[str, str], everything: bool, known: int) -> str:
    """Why the list is empty. It must not be read as "all is well" where only the filter matched nothing."""
    rules = (*(rule.id for rule in RULES), MANUAL)
    unknown = (
        f"; there is no such rule, rules are {', '.join(rules)}" if given.get("--rule", MANUAL) not in rules else ""
    )
    if not known and not unknown:
        return "No decisions." if everything else "Nothing is restricted."
    filters = " ".join(f"{name} {printable(text)}" for name, text in given.items())
    held = "There is none at all" if not known else f"There are {known:,} others" if known > 1 else "There is 1 other"
    return f"No decision matches {filters}{unknown}. {held}{'' if everything else ' in force'}."


def _print_decisions(found: list[Decision], allowed: list[Setting], now: datetime) -> None:
    names = ("subject", "action", "scope", "until (UTC)", "rule", "by", "why", "id")
    table = plain_table(*names, whole=("until (UTC)", "id"))
    spared = False
    for d in found:
        action = d.action if d.mode == "enforce" else f"{d.action} ({'held by the brake' if is_held(d) else 'shadow'})"
        if d.expires_at <= now:
            action += " (over)"
        elif is_allowed(d, allowed, now):
            action, spared = f"{action} (allowed: not in force)", True
        cells = (d.subject, action, d.scope, f"{d.expires_at:%Y-%m-%d %H:%M}", d.rule, d.actor, d.reason, d.id[:8])
        table.add_row(*map(safe, cells))
    table_console(PIPED).print(table)
    if spared:
        click.echo("What is allowed is not restricted, see: sekimori decisions allowlist", err=True)


def is_allowed(d: Decision, allowed: list[Setting], now: datetime) -> bool:
    """Is all that the decision is about on the allowlist?"""
    return any(
        (s.expires_at is None or s.expires_at > now) and concerns((s.subject_kind, s.subject), subject)
        for s in allowed
        for subject in _parts(d)
    )


def _parts(d: Decision) -> list[Subject]:
    if d.subject_kind != "account_ip":
        return [(d.subject_kind, d.subject)]
    account, _, address = d.subject.rpartition("|")
    return [("account", account), ("ip", address), ("account_ip", d.subject)]


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
        table = plain_table("subject", "kind", "until (UTC)", "by", "why", whole=("until (UTC)",))
        for s in entries:
            until = "for ever" if s.expires_at is None else f"{s.expires_at:%Y-%m-%d %H:%M}"
            over = " (over)" if s.expires_at is not None and s.expires_at <= now else ""
            table.add_row(*map(safe, (s.subject, s.subject_kind, until + over, s.actor, s.note)))
        table_console(PIPED).print(table)
    else:
        click.echo("Operators allowed nothing.", err=True)
