"""``sekimori run``: the jobs, as processes of a cluster."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.adapters.geoip import GeoFileError
from pipeline.adapters.logs import set_up_logs
from pipeline.ports import StoreError, TopicMissing
from pipeline.rules.config import RulesError
from pipeline.settings import Settings

_metrics = click.option("--metrics", metavar="HOST:PORT", help="Serve /metrics and /healthz there.")


@click.group()
def run() -> None:
    """Runs a job until it is told to stop. Settings come from SEKIMORI_* (see README)."""


def _job(name: str) -> Any:
    """A job's module, imported only when it runs: the agent on a mail server need not load Faust."""
    return importlib.import_module(f"jobs.{name}")


def _start(job: Callable[[Settings], None]) -> None:
    try:
        settings = Settings.from_env(os.environ)
        set_up_logs(settings.log_json)
        job(settings)
    except (RulesError, GeoFileError, TopicMissing, StoreError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None


@run.command()
@_metrics
def normalize(metrics: str | None) -> None:
    """Log lines -> events, tallies and dead letters. Start as many as you like, up to the number of partitions."""
    _start(lambda settings: _job("normalize").run(settings, metrics))


@run.command()
@_metrics
def detect(metrics: str | None) -> None:
    """Tallies -> windows, rules -> decisions. Start as many as you like, up to the number of partitions."""
    _start(lambda settings: _job("detect").run(settings, metrics))


@run.command()
@click.option("--policy", metavar="HOST:PORT", help="Postfix policy server (check_policy_service inet:HOST:PORT).")
@click.option("--policy-unix", type=click.Path(path_type=Path), help="The same on a UNIX socket.")
@click.option("--dovecot", metavar="HOST:PORT", help="Dovecot auth policy server (auth_policy_server_url).")
@click.option("--disconnect", is_flag=True, help="A refusal also ends the SMTP session (521).")
@click.option("--clock-offset", type=float, default=0.0, help="Seconds added to the clock, to replay an old log.")
@_metrics
def enforce(
    policy: str | None,
    policy_unix: Path | None,
    dovecot: str | None,
    disconnect: bool,
    clock_offset: float,
    metrics: str | None,
) -> None:
    """Answers the mail servers of this host, from a table kept in memory. One on each host."""
    if not (policy or policy_unix or dovecot):
        raise click.UsageError("give at least one of --policy, --policy-unix, --dovecot")
    _start(
        lambda settings: _job("enforce").run(
            settings,
            policy_tcp=policy,
            policy_unix=policy_unix,
            dovecot=dovecot,
            metrics=metrics,
            clock_offset=clock_offset,
            api_key=settings.dovecot_api_key,
            disconnect=disconnect,
        )
    )


@run.command()
@_metrics
def store(metrics: str | None) -> None:
    """Events, dead letters and decisions -> ClickHouse, for analysts. Set SEKIMORI_CLICKHOUSE."""
    _start(lambda settings: _job("store").run(settings, metrics))
