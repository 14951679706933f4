"""What the commands of ``sekimori decisions`` have in common."""

import os
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import click

from pipeline.adapters.kafka.security.access import Cluster, cluster_of, servers
from pipeline.cli.configured import settings_in_force
from pipeline.cli.terminal import printable
from pipeline.networks import Subject, parse_subject
from pipeline.ports import BrokerUnavailable, MessageRefused, TopicMissing
from schemas.enforcement import Decision
from schemas.kinds import SubjectKind

if TYPE_CHECKING:
    from pipeline.adapters.kafka.decisions import DecisionTopics

P = ParamSpec("P")


class Unreachable(click.ClickException):
    """The broker does not answer, or has no such topic: nothing was shown or changed."""

    exit_code = 2


def pass_cluster(command: Callable[Concatenate[Cluster, P], None]) -> Callable[..., None]:
    """Gives a command the cluster, and tells why if it cannot be reached."""

    @click.pass_obj
    @wraps(command)
    def with_cluster(brokers: str | None, /, *args: P.args, **options: P.kwargs) -> None:
        try:
            cluster = cluster_of(settings_in_force(), brokers or "")
            servers(cluster)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        try:
            command(cluster, *args, **options)
        except (BrokerUnavailable, TopicMissing, MessageRefused) as error:
            raise Unreachable(str(error)) from None

    return with_cluster


def pass_topics(command: Callable[Concatenate["DecisionTopics", P], None]) -> Callable[..., None]:
    """As ``pass_cluster``, its topics."""

    @wraps(command)
    def with_topics(cluster: Cluster, /, *args: P.args, **options: P.kwargs) -> None:
        command(topics_of(cluster), *args, **options)

    return pass_cluster(with_topics)


def topics_of(cluster: Cluster) -> "DecisionTopics":
    """To be asked where Kafka is needed, and only there: its client takes longer to import than an agent to answer."""
    from pipeline.adapters.kafka.decisions import DecisionTopics  # noqa: PLC0415

    return DecisionTopics(cluster, _warn, _warn_refused)


def _warn(topic: str, key: str, why: str) -> None:
    click.echo(f"{topic}: {printable(key)} cannot be read: {printable(why)}", err=True)


def _warn_refused(topic: str, number: int, why: str) -> None:
    what = "1 message is not obeyed" if number == 1 else f"{number:,} messages are not obeyed"
    click.echo(f"{topic}: {what}: {printable(why)}", err=True)


def _default_actor() -> str:
    """The operator at this terminal."""
    return f"operator:{os.environ.get('SUDO_USER') or os.environ.get('USER') or os.getuid()}"


def typed(
    text: str, kind: SubjectKind | None, read: Callable[[str, SubjectKind | None], Subject] = parse_subject
) -> Subject:
    """What the operator typed. Raises click.UsageError."""
    try:
        return read(text, kind)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def told(d: Decision) -> str:
    """A decision in one line."""
    shadow = " in shadow mode" if d.mode == "shadow" else ""
    by = f"rule {d.rule}" if d.rule != "manual" else d.actor
    return printable(f"{d.subject}: {d.action} ({d.scope}){shadow} until {when(d.expires_at)}, by {by}: {d.reason}")


def when(time: datetime) -> str:
    """For people."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def in_force(found: Iterable[Decision], now: datetime) -> list[Decision]:
    """Those whose time is not over."""
    return [d for d in found if d.expires_at > now]


kind_option = click.option(
    "--kind", type=click.Choice(["account", "ip", "prefix", "country", "account_ip"]), help="If its form does not tell."
)
note_option = click.option("--note", required=True, help="Why, for those who read it later.")
actor_option = click.option("--actor", default=_default_actor, help="Who does it (operator:$USER).")
yes_option = click.option("--yes", is_flag=True, help="I know whom it hits: everybody, our country, our own hosts.")
