"""``sekimori decisions``: who is restricted and why, and what an operator does about it."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import click
import msgspec

from pipeline.adapters.kafka.cluster import Cluster
from pipeline.adapters.kafka.decisions import DecisionTopics
from pipeline.cli.common import Duration, json_option
from pipeline.cli.configured import settings_in_force
from pipeline.cli.terminal import plain_table, printable, safe, table_console
from pipeline.enforce.table import MANUAL
from pipeline.enforce.terms import LOGIN_ACTIONS, terms_of
from pipeline.networks import Subject, concerns, is_same, parse_subject, subject_of_key
from pipeline.ports import BrokerUnavailable, MessageRefused, TopicMissing
from schemas.codec import encode
from schemas.enforcement import Decision, decision_id
from schemas.kinds import ACTIONS, SCOPES, Action, Scope, SubjectKind
from schemas.setting import Setting
from schemas.topics import ENFORCEMENT, SETTINGS

PIPED = 240  # columns where there is no terminal
P = ParamSpec("P")


class Unreachable(click.ClickException):
    """The broker does not answer, or has no such topic: nothing was shown or changed."""

    exit_code = 2


def _pass_topics(command: Callable[Concatenate[DecisionTopics, P], None]) -> Callable[..., None]:
    """Gives a command the topics, and tells why if they cannot be reached."""

    @click.pass_obj
    @wraps(command)
    def with_topics(brokers: str | None, /, *args: P.args, **options: P.kwargs) -> None:
        try:
            topics = DecisionTopics(Cluster.of(settings_in_force(), brokers), _warn)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        try:
            command(topics, *args, **options)
        except (BrokerUnavailable, TopicMissing, MessageRefused) as error:
            raise Unreachable(str(error)) from None

    return with_topics


def _warn(topic: str, key: str, why: str) -> None:
    click.echo(f"{topic}: {printable(key)} cannot be read: {printable(why)}", err=True)


def _default_actor() -> str:
    """The operator at this terminal."""
    return f"operator:{os.environ.get('USER') or os.getuid()}"


def _subject(text: str, kind: SubjectKind | None) -> Subject:
    """What the operator typed. Raises click.UsageError."""
    try:
        return parse_subject(text, kind)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


_kind = click.option(
    "--kind", type=click.Choice(["account", "ip", "prefix", "country", "account_ip"]), help="If its form does not tell."
)
_note = click.option("--note", required=True, help="Why, for those who read it later.")
_actor = click.option("--actor", default=_default_actor, help="Who does it (operator:$USER).")


@click.group()
@click.option("--brokers", help="Kafka bootstrap servers, host:port[,host:port].  [default: SEKIMORI_BROKERS]")
@click.pass_context
def decisions(ctx: click.Context, brokers: str | None) -> None:
    """Shows, makes and lifts restrictions.

    A SUBJECT is an account (user@domain), an address, a prefix (CIDR), a country (two capital letters), or
    'account|address'. Whatever is done here reaches every mail server within seconds.
    """
    ctx.obj = brokers


@decisions.command(name="list")
@click.option("--account", help="About this account only.")
@click.option("--ip", "address", help="Holding for this address or prefix only.")
@click.option("--rule", help="Made by this rule only.")
@click.option("--mode", type=click.Choice(["enforce", "shadow"]), help="In this mode only.")
@click.option("--all", "everything", is_flag=True, help="Also those whose time is over.")
@json_option("One enforcement message a line.")
@_pass_topics
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
    wanted = [_subject(account, "account")] if account else []
    wanted += [_subject(address, "ip")] if address else []
    found = [
        d
        for d in topics.decisions()
        if (everything or d.expires_at > now)
        and all(concerns((d.subject_kind, d.subject), subject) for subject in wanted)
        and rule in {None, d.rule}
        and mode in {None, d.mode}
    ]
    found.sort(key=lambda d: (d.issued_at, d.key))
    if as_json:
        for d in found:
            click.echo(encode(d))
    elif found:
        _print_table(found)
    else:
        click.echo("Nothing is restricted." if not everything else "No decisions.", err=True)


def _print_table(found: list[Decision]) -> None:
    names = ("subject", "action", "scope", "until (UTC)", "rule", "by", "why")
    table = plain_table(*names, whole=("until (UTC)",))
    for d in found:
        action = d.action if d.mode == "enforce" else f"{d.action} (shadow)"
        cells = (d.subject, action, d.scope, f"{d.expires_at:%Y-%m-%d %H:%M}", d.rule, d.actor, d.reason)
        table.add_row(*map(safe, cells))
    table_console(PIPED).print(table)


@decisions.command()
@click.argument("subject")
@_kind
@json_option("One JSON object.")
@_pass_topics
def show(topics: DecisionTopics, subject: str, kind: SubjectKind | None, as_json: bool) -> None:
    """Shows all about SUBJECT: decisions with evidence, allowlist entries, and who lifted what."""
    wanted = _subject(subject, kind)
    answer: dict[str, list[Any]] = {
        "decision": [d for d in topics.decisions() if concerns((d.subject_kind, d.subject), wanted)],
        "allow": [s for s in topics.allowlist() if concerns((s.subject_kind, s.subject), wanted)],
        "lifted": [t for t in topics.lifted() if (of := subject_of_key(t["key"])) is not None and concerns(of, wanted)],
    }
    if as_json:
        click.echo(msgspec.json.encode(answer))
        return
    if not any(answer.values()):
        click.echo(f"Nothing is known about {wanted[1]}.", err=True)
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


@decisions.command()
@click.argument("subject")
@click.option("--for", "length", type=Duration(), required=True, help="How long, such as 30m, 2h, 7d.")
@click.option("--action", type=click.Choice(ACTIONS), default="reject", show_default=True)
@click.option("--scope", type=click.Choice(SCOPES), help="Default: login for login actions, else send.")
@click.option("--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Of the action: pool=slow.")
@_note
@_kind
@_actor
@_pass_topics
def block(
    topics: DecisionTopics,
    subject: str,
    length: timedelta,
    action: Action,
    scope: Scope | None,
    parameters: tuple[str, ...],
    note: str,
    kind: SubjectKind | None,
    actor: str,
) -> None:
    """Restricts SUBJECT by hand. It wins over what the rules decide, the allowlist wins over it."""
    subject_kind, name = _subject(subject, kind)
    now = datetime.now(UTC)
    made = Decision(
        id=decision_id(MANUAL, subject_kind, name, now),
        subject_kind=subject_kind,
        subject=name,
        action=action,
        scope=scope or ("login" if action in LOGIN_ACTIONS else "send"),
        mode="enforce",
        rule=MANUAL,
        rule_version=1,
        reason=note,
        issued_at=now,
        expires_at=now + length,
        actor=actor,
        parameters=dict(_parameter(p) for p in parameters),
    )
    try:
        terms_of(made)
    except ValueError as error:
        raise click.UsageError(f"{error} (--parameter NAME=VALUE)") from None
    topics.write(ENFORCEMENT.name, made.key, encode(made))
    click.echo(f"{name}: {action} ({made.scope}) until {made.expires_at:%Y-%m-%d %H:%M:%S} UTC")


@decisions.command()
@click.argument("subject")
@click.option("--rule", help="Only what this rule decided ('manual' for what operators did).")
@_note
@_kind
@_actor
@_pass_topics
def release(
    topics: DecisionTopics, subject: str, rule: str | None, note: str, kind: SubjectKind | None, actor: str
) -> None:
    """Lifts what restricts SUBJECT. For an IPv6 address also what restricts its /64."""
    wanted = _subject(subject, kind)
    keys = [
        d.key for d in topics.decisions() if rule in {None, d.rule} and is_same((d.subject_kind, d.subject), wanted)
    ]
    if not keys:
        raise click.ClickException(f"nothing restricts {wanted[1]}{f' by rule {rule}' if rule else ''}")
    topics.lift(ENFORCEMENT.name, keys, actor, note, datetime.now(UTC))
    for key in keys:
        click.echo(f"lifted {printable(key)}")


@decisions.command()
@click.argument("subject")
@click.option("--for", "length", type=Duration(), help="How long; for ever if not given.")
@_note
@_kind
@_actor
@_pass_topics
def allow(
    topics: DecisionTopics, subject: str, length: timedelta | None, note: str, kind: SubjectKind | None, actor: str
) -> None:
    """Puts SUBJECT on the allowlist: nothing restricts it any more."""
    subject_kind, name = _subject(subject, kind)
    now = datetime.now(UTC)
    made = Setting(
        setting="allow",
        subject_kind=subject_kind,
        subject=name,
        actor=actor,
        note=note,
        issued_at=now,
        expires_at=now + length if length else None,
    )
    topics.write(SETTINGS.name, made.key, encode(made))
    click.echo(f"{name}: allowed{f' until {made.expires_at:%Y-%m-%d %H:%M:%S} UTC' if made.expires_at else ''}")


@decisions.command()
@click.argument("subject")
@_note
@_kind
@_actor
@_pass_topics
def disallow(topics: DecisionTopics, subject: str, note: str, kind: SubjectKind | None, actor: str) -> None:
    """Takes SUBJECT off the allowlist."""
    wanted = _subject(subject, kind)
    keys = [s.key for s in topics.allowlist() if is_same((s.subject_kind, s.subject), wanted)]
    if not keys:
        raise click.ClickException(f"{wanted[1]} is not on the allowlist")
    topics.lift(SETTINGS.name, keys, actor, note, datetime.now(UTC))
    click.echo(f"{wanted[1]}: no longer allowed")


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise click.UsageError(f"--parameter {text!r}: NAME=VALUE is wanted")
    if name == "except_sources":
        return name, value.split(",")
    return name, int(value) if value.isascii() and value.isdigit() else value
