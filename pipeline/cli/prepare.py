"""``sekimori prepare``: the topics, with the right configuration, and the tables of the analytical store."""

import logging
import os
from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs import prepare as job
from pipeline.adapters.kafka.client import KafkaLog, partition_counts, servers
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.security.access import cluster_of
from pipeline.adapters.kafka.security.acls import JOBS, as_commands
from pipeline.adapters.kafka.topics import TopicReport
from pipeline.adapters.streams.states import forget
from pipeline.cli.common import clear_errors, json_option
from pipeline.cli.terminal import print_json
from pipeline.settings import Settings
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
    help="Only print Kafka's commands that allow each job just what it needs, to User:sekimori-JOB; asks no broker.",
)
@json_option("One topic a line as JSON.")
def prepare(
    broker: str | None,
    partitions: int | None,
    wait: float,
    dry_run: bool,
    forget_state: str | None,
    acls: bool,
    as_json: bool,
) -> None:
    """Makes the topics that are missing. Topics that are there are compared, and changed in nothing but this: where
    maillog or authlog has fewer than --partitions, it gets more, and normalize-state with it.

    With SEKIMORI_CLICKHOUSE set, the tables there are made, too. Exits with 1 if a topic differs from what is needed,
    and says what to do about it.
    """
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with clear_errors(ValueError):
        settings = Settings.from_env(os.environ)
        bootstrap = cluster_of(settings, broker or "")
        servers(bootstrap)
        if acls:
            for name in JOBS:
                click.echo("\n".join([f"# {name}", *as_commands(name, f"User:sekimori-{name}", bootstrap)]))
            return
        if forget_state is not None:
            _forget(bootstrap, forget_state, dry_run)
            return
        reports = job.prepare(bootstrap, partitions, settings.partitions, wait, dry_run, _waiting(bootstrap))
        if settings.clickhouse and not dry_run:
            job.prepare_store(settings.clickhouse, wait)
    if as_json:
        for report in reports:
            print_json(report)
    else:
        _show(reports)
    if any(report.status == "differs" for report in reports):
        raise SystemExit(1)


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
        for advice in report.advice:
            console.print(f"  {advice}", markup=False, highlight=False, soft_wrap=True)
