"""``sekimori prepare``: the topics, with the right configuration, and the tables of the analytical store."""

import logging
import os
from collections.abc import Callable

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs import prepare as job
from pipeline.adapters.kafka.client import servers
from pipeline.adapters.kafka.topics import TopicReport
from pipeline.cli.common import clear_errors, json_option
from pipeline.cli.terminal import print_json
from pipeline.settings import Settings

_COLOURS = {"created": "green", "present": "dim", "missing": "yellow", "differs": "red"}


@click.command()
@click.option("--broker", help="Kafka bootstrap servers, host:port[,host:port].  [default: SEKIMORI_BROKERS]")
@click.option("--partitions", type=click.IntRange(1, 512), help="Of all topics but the tables.  [default: 4]")
@click.option("--wait", type=click.FloatRange(0, 3600), default=30, show_default=True, help="Seconds for a broker.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@json_option("One topic a line as JSON.")
def prepare(broker: str | None, partitions: int | None, wait: float, dry_run: bool, as_json: bool) -> None:
    """Makes the topics that are missing. Topics that are there are compared, never changed.

    With SEKIMORI_CLICKHOUSE set, the tables there are made, too. Exits with 1 if a topic differs from what is needed,
    and says what to do about it.
    """
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with clear_errors(ValueError):
        settings = Settings.from_env(os.environ)
        bootstrap = broker or settings.brokers
        servers(bootstrap)
        reports = job.prepare(bootstrap, partitions or settings.partitions, wait, dry_run, _waiting(bootstrap))
        if settings.clickhouse and not dry_run:
            job.prepare_store(settings.clickhouse, wait)
    if as_json:
        for report in reports:
            print_json(report)
    else:
        _show(reports)
    if any(report.status == "differs" for report in reports):
        raise SystemExit(1)


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
        for difference in report.differences:
            console.print(f"{report.name}: {difference}", style="red", markup=False, highlight=False)
        for advice in report.advice:
            console.print(f"  {advice}", markup=False, highlight=False, soft_wrap=True)
