"""``sekimori prepare``: the topics, with the right configuration, and the tables of the analytical store."""

import logging
from collections.abc import Callable
from dataclasses import replace

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs import prepare as job
from pipeline.adapters.kafka.client import KafkaLog, partition_counts
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.security.access import Cluster, cluster_of, servers
from pipeline.adapters.kafka.security.acls import JOBS, as_commands, grants_of
from pipeline.adapters.kafka.topics import TopicReport
from pipeline.adapters.streams.partitions.states import forget
from pipeline.cli.common import clear_errors
from pipeline.cli.configured import settings_in_force
from pipeline.cli.terminal import json_option, print_json
from schemas.topics import DETECT_STATE, NORMALIZE_STATE

STATES = (NORMALIZE_STATE, DETECT_STATE)
_COLOURS = {"created": "green", "present": "dim", "missing": "yellow", "differs": "red", "grown": "green"}


@click.command()
@click.option("--broker", help="Kafka bootstrap servers, host:port[,host:port].  [default: SEKIMORI_BROKERS]")
@click.option(
    "--partitions",
    type=click.IntRange(1, 512),
    help="Of all topics but the tables; maillog and authlog "
    "that have fewer get more.  [default: SEKIMORI_PARTITIONS, 4]",
)
@click.option(
    "--tallies",
    type=click.IntRange(1, 512),
    help="Only give tallies so many partitions, a multiple of what it has, and take along what was counted. "
    "normalize and detect must be stopped.",
)
@click.option("--replication", type=click.IntRange(1, 100), help="Replicas of a new topic.  [default: the broker's]")
@click.option(
    "--min-insync",
    type=click.IntRange(1, 100),
    help="How many replicas must have a message before it counts as written.  [default: the broker's]",
)
@click.option("--wait", type=click.FloatRange(0, 3600), default=30, show_default=True, help="Seconds for a broker.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option(
    "--forget-state",
    metavar="TOPIC/N",
    help="Only delete the saved state of partition N of normalize-state "
    "or detect-state, when its job says that it cannot be read. The job must not be running.",
)
@click.option(
    "--acls",
    is_flag=True,
    help="Only print Kafka's commands that allow each job just what it needs; asks no broker.",
)
@click.option(
    "--principal",
    metavar="TEXT",
    default="User:sekimori-{job}",
    show_default=True,
    help="Whom --acls allows it: {job} stands for normalize, detect, ...",
)
@json_option("One topic (with --acls: one right) a line as JSON.")
def prepare(
    *,
    broker: str | None,
    partitions: int | None,
    tallies: int | None,
    replication: int | None,
    min_insync: int | None,
    wait: float,
    dry_run: bool,
    forget_state: str | None,
    acls: bool,
    principal: str,
    as_json: bool,
) -> None:
    """Makes the topics that are missing. Topics that are there are compared, and changed in nothing but this: where
    maillog or authlog has fewer than --partitions, it gets more, and normalize-state with it. tallies gets more by
    --tallies alone.

    With SEKIMORI_CLICKHOUSE set, the tables there are made, too. Exits with 1 if a topic differs from what is needed,
    and says what to do about it; warns where a broker that is lost would stop all, or take messages with it.
    """
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with clear_errors(ValueError):
        if tallies is not None and (partitions is not None or forget_state is not None):
            raise click.UsageError("--tallies is a step of its own: give no --partitions and no --forget-state with it")
        given = settings_in_force()
        settings = replace(
            given, replication=replication or given.replication, min_insync=min_insync or given.min_insync
        )
        settings.check()
        bootstrap = cluster_of(settings, broker or "")
        servers(bootstrap)
        if acls:
            _show_acls(bootstrap, principal, as_json)
            return
        if forget_state is not None:
            _forget(bootstrap, forget_state, dry_run)
            return
        if tallies is not None:
            reports = job.grow_tallies(bootstrap, tallies, wait, dry_run, _waiting(bootstrap))
        else:
            reports = job.prepare(bootstrap, partitions, settings, wait, dry_run, _waiting(bootstrap))
            if settings.clickhouse and not dry_run:
                job.prepare_store(settings, wait)
    if as_json:
        for report in reports:
            print_json(report)
    else:
        _show(reports)
    if any(report.status == "differs" for report in reports):
        raise SystemExit(1)


def _show_acls(cluster: Cluster, principal: str, as_json: bool) -> None:
    for name in JOBS:
        whom = principal.replace("{job}", name)
        if not as_json:
            click.echo("\n".join([f"# {name}", *as_commands(name, whom, cluster)]))
            continue
        for grant in grants_of(name):
            told = {"kind": grant.resource, "name": cluster.topic(grant.name), "operations": grant.operations}
            print_json({"job": name, "principal": whom} | told)


def _forget(bootstrap: str, state: str, dry_run: bool) -> None:
    """Raises click.BadParameter, BrokerUnavailable, TopicMissing."""
    name, _, number = state.partition("/")
    topic = next((topic for topic in STATES if topic.name == name), None)
    if topic is None or not (number.isascii() and number.isdigit()):
        wanted = " or ".join(f"{topic.name}/N" for topic in STATES)
        raise click.BadParameter(f"{state!r} is not of the form {wanted}", param_hint="--forget-state")
    partitions = partition_counts(bootstrap, [topic.name])[topic.name]
    if int(number) >= partitions:
        raise click.BadParameter(f"{topic.name} has the partitions 0 to {partitions - 1}", param_hint="--forget-state")
    if dry_run:
        click.echo(f"{topic.name}, partition {number}: would be deleted")
        return
    with KafkaOutbox(bootstrap) as outbox:
        deleted = forget(KafkaLog(bootstrap), outbox, topic, int(number))
    click.echo(f"{topic.name}, partition {number}: {deleted} parts deleted")


def _waiting(bootstrap: str) -> Callable[[], bool]:
    said = False

    def waiting() -> bool:
        nonlocal said
        if not said:
            click.echo(f"waiting for a broker at {bootstrap}", err=True)
        said = True
        return True

    return waiting


def _show(reports: list[TopicReport]) -> None:
    console = Console()
    table = Table("topic", "partitions", "", box=None)
    for report in reports:
        status = Text(report.status, style=_COLOURS[report.status])
        table.add_row(report.name, str(report.partitions), status)
    console.print(table)
    for report in reports:
        if report.before is not None:
            console.print(f"{report.name}: {report.before} partitions before, now {report.partitions}", highlight=False)
        for difference in report.differences:
            console.print(f"{report.name}: {difference}", style="red", markup=False, highlight=False)
        for warning in report.warnings:
            console.print(f"{report.name}: {warning}", style="yellow", markup=False, highlight=False)
        for advice in report.advice:
            console.print(f"  {advice}", markup=False, highlight=False, soft_wrap=True)
