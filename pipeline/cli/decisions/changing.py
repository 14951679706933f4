"""``decisions block``, ``release``, ``allow`` and ``disallow``: what operators decide."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec

from pipeline.adapters.kafka.decisions import DecisionTopics
from pipeline.cli.common import Duration
from pipeline.cli.decisions.checks import ask_if_wide, how_many, needs_geoip
from pipeline.cli.decisions.common import (
    actor_option,
    in_force,
    kind_option,
    note_option,
    pass_topics,
    told,
    typed,
    when,
    yes_option,
)
from pipeline.cli.decisions.looking import ID
from pipeline.cli.terminal import json_option, printable
from pipeline.enforce.terms import LOGIN_ACTIONS, terms_of
from pipeline.hooks.effects import effects, why_without_effect
from pipeline.networks import Subject
from pipeline.subjects import concerns, is_same, named_subject
from schemas.codec import encode
from schemas.enforcement import MANUAL, Decision, decision_id
from schemas.kinds import ACTIONS, SCOPES, Action, Scope, SubjectKind
from schemas.setting import Setting
from schemas.topics import ENFORCEMENT, SETTINGS

_json = json_option("What was written, as JSON.")


@click.command()
@click.argument("subject")
@click.option("--for", "length", type=Duration(), required=True, help="How long, such as 30m, 2h, 7d.")
@click.option(
    "--action",
    type=click.Choice(ACTIONS),
    help="Default: reject for an account; deny_login with scope both for where somebody comes from.",
)
@click.option("--scope", type=click.Choice(SCOPES), help="Default: login for login actions, else send.")
@click.option("--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Of the action: pool=slow.")
@click.option("--replace", is_flag=True, help="In the place of what an operator decided before.")
@yes_option
@note_option
@kind_option
@actor_option
@_json
@pass_topics
def block(
    topics: DecisionTopics,
    subject: str,
    length: timedelta,
    action: Action | None,
    scope: Scope | None,
    parameters: tuple[str, ...],
    replace: bool,
    yes: bool,
    note: str,
    kind: SubjectKind | None,
    actor: str,
    as_json: bool,
) -> None:
    """Restricts SUBJECT by hand. It wins over what the rules decide, the allowlist wins over it."""
    subject_kind, name = typed(subject, kind, named_subject)
    action, scope = _meant(subject_kind, action, scope)
    now = datetime.now(UTC)
    made = Decision(
        id=decision_id(MANUAL, subject_kind, name, now),
        subject_kind=subject_kind,
        subject=name,
        action=action,
        scope=scope,
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
    what = effects(subject_kind, action, scope)
    if not what:
        raise click.UsageError(why_without_effect(subject_kind, action, scope))
    ask_if_wide((subject_kind, name), yes, "restrict")
    for d in topics.decisions(now):
        if d.key == made.key and not replace:
            raise click.UsageError(f"an operator restricts it already: {told(d)}. To put yours in its place: --replace")
    topics.write(ENFORCEMENT.name, made.key, encode(made))
    if as_json:
        click.echo(encode(made))
        return
    click.echo(
        f"{name}: {action} ({scope}) until {when(made.expires_at)} [{made.id[:8]}]{how_many(name, subject_kind)}"
    )
    for effect in what:
        click.echo(f"  {effect.hook}: {effect.what}")
    if subject_kind == "country":
        click.echo(f"  {needs_geoip('obeyed')}", err=True)
    for s in topics.allowlist():
        if (s.expires_at is None or s.expires_at > now) and concerns((s.subject_kind, s.subject), (subject_kind, name)):
            click.echo(f"  but {printable(s.subject)} is allowed ({printable(s.note)}), and that wins", err=True)


def _meant(kind: SubjectKind, action: Action | None, scope: Scope | None) -> tuple[Action, Scope]:
    """What was not said. Whoever blocks where somebody comes from wants nothing from there, as rules do."""
    if action is None and kind != "account":
        return "deny_login", scope or "both"
    action = action or "reject"
    return action, scope or ("login" if action in LOGIN_ACTIONS else "send")


@click.command()
@click.argument("subject")
@click.option("--rule", help="Only what this rule decided ('manual' for what operators did).")
@note_option
@kind_option
@actor_option
@_json
@pass_topics
def release(
    topics: DecisionTopics,
    subject: str,
    rule: str | None,
    note: str,
    kind: SubjectKind | None,
    actor: str,
    as_json: bool,
) -> None:
    """Lifts what restricts SUBJECT, or the decision of that id. For an IPv6 address also what restricts its /64.

    What was done until now is then not judged again; new abuse is, at the normal limits.
    """
    known, now = topics.decisions(), datetime.now(UTC)
    if kind is None and ID.fullmatch(subject):
        found, left = [d for d in known if d.id.startswith(subject)], list[Decision]()
    else:
        wanted = typed(subject, kind)
        found = [d for d in known if rule in {None, d.rule} and is_same((d.subject_kind, d.subject), wanted)]
        left = [d for d in in_force(known, now) if d not in found and _holds_for(d, wanted)]
    if not found:
        by = f" by rule {rule}" if rule else ""
        raise click.ClickException(
            "\n".join((f"no decision{by} is about {subject} itself; it is restricted all the same:", *_wider(left)))
            if left
            else f"nothing restricts {subject}{by}"
        )
    topics.lift(found, actor, note, now)
    if as_json:
        click.echo(msgspec.json.encode({"lifted": [d.key for d in found], "left": [d.key for d in left]}))
        return
    for d in found:
        click.echo(f"lifted {printable(d.key)}")
    if left:
        click.echo("\n".join((f"{subject} is still restricted:", *_wider(left))), err=True)


def _holds_for(d: Decision, wanted: Subject) -> bool:
    """Does it restrict who was named, though it may be about more?"""
    return concerns((d.subject_kind, d.subject), wanted)


def _wider(left: list[Decision]) -> list[str]:
    return [
        f"  {told(d)}; to lift it: sekimori decisions release '{printable(d.subject)}' --rule {d.rule} --note ..."
        for d in left
    ]


@click.command()
@click.argument("subject")
@click.option("--for", "length", type=Duration(), help="How long; for ever if not given.")
@yes_option
@note_option
@kind_option
@actor_option
@_json
@pass_topics
def allow(
    topics: DecisionTopics,
    subject: str,
    length: timedelta | None,
    yes: bool,
    note: str,
    kind: SubjectKind | None,
    actor: str,
    as_json: bool,
) -> None:
    """Puts SUBJECT on the allowlist: nothing restricts it any more."""
    subject_kind, name = typed(subject, kind, named_subject)
    ask_if_wide((subject_kind, name), yes, "allow")
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
    if as_json:
        click.echo(encode(made))
        return
    until = f" until {when(made.expires_at)}" if made.expires_at else ""
    click.echo(f"{name}: allowed{until}{how_many(name, subject_kind)}")
    if subject_kind == "country":
        click.echo(f"  {needs_geoip('heard')}", err=True)


@click.command()
@click.argument("subject")
@note_option
@kind_option
@actor_option
@_json
@pass_topics
def disallow(
    topics: DecisionTopics, subject: str, note: str, kind: SubjectKind | None, actor: str, as_json: bool
) -> None:
    """Takes SUBJECT off the allowlist."""
    wanted = typed(subject, kind)
    known = topics.allowlist()
    found = [s for s in known if is_same((s.subject_kind, s.subject), wanted)]
    if not found:
        around = [s.subject for s in known if concerns((s.subject_kind, s.subject), wanted)]
        wider = f", but {', '.join(map(printable, around))} is: give that" if around else ""
        raise click.ClickException(f"{wanted[1]} is not on the allowlist{wider}")
    topics.lift(found, actor, note, datetime.now(UTC))
    if as_json:
        click.echo(msgspec.json.encode({"lifted": [s.key for s in found]}))
        return
    click.echo(f"{wanted[1]}: no longer allowed")


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise click.UsageError(f"--parameter {text!r}: NAME=VALUE is wanted")
    if name == "except_sources":
        return name, value.split(",")
    return name, int(value) if value.isascii() and value.isdigit() else value
