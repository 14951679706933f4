"""``decisions list``: what holds now, as the agent of this host knows it, or the topic."""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from pipeline.adapters.agent.asking import AgentAnswer
from pipeline.adapters.kafka.security.access import Cluster, table_at
from pipeline.cli.decisions.common import pass_cluster, topics_of, typed
from pipeline.cli.decisions.nearby import ask_nearby
from pipeline.cli.terminal import json_option, print_rows, printable
from pipeline.enforce.asked import Asked, Listed, of_decision
from pipeline.networks import Subject
from pipeline.ports import BrokerUnavailable, TopicMissing
from pipeline.subjects import Concerning
from schemas.codec import encode
from schemas.enforcement import MANUAL, Decision
from schemas.kinds import Mode
from schemas.setting import Setting


class _Found(NamedTuple):
    """``known``: how many there are, whatever was asked."""

    listed: list[Listed]
    allowed: list[Setting]
    known: int


@click.command(name="list")
@click.option("--account", help="About this account only.")
@click.option("--ip", "address", help="Holding for this address or prefix only.")
@click.option("--rule", help="Made by this rule only ('manual': by operators).")
@click.option("--mode", type=click.Choice(["enforce", "shadow"]), help="In this mode only.")
@click.option("--all", "everything", is_flag=True, help="Also those whose time is over.")
@click.option(
    "--agent",
    "socket",
    metavar="SOCKET",
    type=click.Path(path_type=Path),
    help="Ask the agent there, whatever it obeys.  [default: SEKIMORI_AGENT_SOCKET, or where agents listen]",
)
@click.option("--kafka", is_flag=True, help="Read the topic, ask no agent.")
@json_option("One enforcement message a line.")
@pass_cluster
def list_(
    cluster: Cluster,
    account: str | None,
    address: str | None,
    rule: str | None,
    mode: Mode | None,
    everything: bool,
    socket: Path | None,
    kafka: bool,
    as_json: bool,
) -> None:
    """Lists what holds now, the newest last.

    The agent of this host is asked, which is quick however much there is; standard error says so, and how old its table
    is. Where none answers the topic is read, also for --all and --json, since agents do not keep whole messages.
    """
    now = datetime.now(UTC)
    wanted = [typed(account, "account")] if account else []
    wanted += [typed(address, "ip")] if address else []
    asked = Asked(now.timestamp(), tuple(wanted), rule, mode)
    if as_json or everything:
        if socket is not None:
            raise click.UsageError(
                "--agent: agents keep no whole messages, nor what is over: leave out --json and --all"
            )
        kafka = True
    if as_json:
        found, known = _read(cluster, asked, None if everything else now)
        number = len(found)
        for d in found:
            click.echo(encode(d))
    else:
        answer = None if kafka else ask_nearby(socket, asked, table_at(cluster))
        shown = _look(cluster, asked, None if everything else now, answer)
        number, known = len(shown.listed), shown.known
        if number:
            _print(shown, asked.at)
    if not number:
        given = {"--account": account, "--ip": address, "--rule": rule, "--mode": mode}
        click.echo(_nothing({name: text for name, text in given.items() if text}, everything, known), err=True)


def _look(cluster: Cluster, asked: Asked, now: datetime | None, answer: AgentAnswer | None) -> _Found:
    """What an agent that hears Kafka answered, else what the topic has. An agent that does not hear it is better than
    nothing, if nor do we."""
    if answer is not None and not answer.why_old:
        return _of_agent(answer)
    try:
        decisions, known = _read(cluster, asked, now)
        allowed = topics_of(cluster).allowlist() if decisions else []
        return _Found([of_decision(d) for d in decisions], allowed, known)
    except (BrokerUnavailable, TopicMissing) as error:
        if answer is None:
            raise
        click.echo(f"{error}. This is what the agent knew; what came since is missing.", err=True)
        return _of_agent(answer)


def _of_agent(answer: AgentAnswer) -> _Found:
    listed = sorted(answer.listed.values(), key=lambda one: (one.issued_at, one.key))
    return _Found(listed, answer.allow, answer.known)


def _read(cluster: Cluster, asked: Asked, now: datetime | None) -> tuple[list[Decision], int]:
    """From the topic: what was asked for, the newest last, and how many there are in all."""
    known = topics_of(cluster).decisions(now)
    found = [d for d in known if asked.matches(d.subject_kind, d.subject, d.rule, d.mode)]
    return sorted(found, key=lambda d: (d.issued_at, d.key)), len(known)


def _nothing(given: dict[str, str], everything: bool, known: int) -> str:
    """Why the list is empty. It must not be read as "all is well" where only the filter matched nothing."""
    unknown = _unknown(given["--rule"]) if "--rule" in given else ""
    if not known and not unknown:
        return "No decisions." if everything else "Nothing is restricted."
    filters = " ".join(f"{name} {printable(text)}" for name, text in given.items())
    held = "There is none at all" if not known else f"There are {known:,} others" if known > 1 else "There is 1 other"
    return f"No decision matches {filters}{unknown}. {held}{'' if everything else ' in force'}."


def _unknown(name: str) -> str:
    from pipeline.rules import RULES  # noqa: PLC0415  # windows and all: only who names a rule needs them

    rules = (*(rule.id for rule in RULES), MANUAL)
    return "" if name in rules else f"; there is no such rule, rules are {', '.join(rules)}"


def _print(shown: _Found, now: float) -> None:
    entries = [s for s in shown.allowed if s.expires_at is None or s.expires_at.timestamp() > now]
    allowed = Concerning((s.subject_kind, s.subject) for s in entries)
    spared = [bool(entries) and one.expires_at > now and _is_allowed(one, allowed) for one in shown.listed]
    names = ("subject", "action", "scope", "until (UTC)", "rule", "by", "why", "id")
    rows = (_cells(one, now, is_spared) for one, is_spared in zip(shown.listed, spared, strict=True))
    print_rows(names, rows, whole=("until (UTC)", "id"))
    if any(spared):
        click.echo("What is allowed is not restricted, see: sekimori decisions allowlist", err=True)


def _cells(one: Listed, now: float, is_spared: bool) -> tuple[str, ...]:
    action: str = one.action
    if one.mode != "enforce":
        action += " (held by the brake)" if one.held else " (shadow)"
    if one.expires_at <= now:
        action += " (over)"
    elif is_spared:
        action += " (allowed: not in force)"
    return one.subject, action, one.scope, f"{one.until:%Y-%m-%d %H:%M}", one.rule, one.actor, one.reason, one.id


def _is_allowed(one: Listed, allowed: Concerning) -> bool:
    """Is all that the decision is about on the allowlist?"""
    return any(subject in allowed for subject in _parts(one))


def _parts(one: Listed) -> list[Subject]:
    if one.subject_kind != "account_ip":
        return [(one.subject_kind, one.subject)]
    account, _, address = one.subject.rpartition("|")
    return [("account", account), ("ip", address), ("account_ip", one.subject)]
