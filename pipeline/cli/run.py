"""``sekimori run``: the jobs, as processes of a cluster."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pipeline.adapters.agent.sockets import USUAL_GROUP, SocketAccess
from pipeline.adapters.logs import set_up_logs
from pipeline.cli.common import FileMode, clear_errors
from pipeline.cli.configured import settings_in_force
from pipeline.hooks import HOOKS
from pipeline.settings import Settings

_PLACES = tuple(option for hook in HOOKS for option in hook.options if option.kind != "flag")
_FLAGS = tuple(option for hook in HOOKS for option in hook.options if option.kind == "flag")
_metrics = click.option("--metrics", metavar="HOST:PORT", help="Serve /metrics and /healthz there.")


@click.group()
def run() -> None:
    """Runs a job until it is told to stop. Settings come from SEKIMORI_* (see README)."""


def _job(name: str) -> Any:
    """A job's module, imported only when it runs: the agent on a mail server need not load Faust."""
    return importlib.import_module(f"jobs.{name}")


def _start(job: Callable[[Settings], None]) -> None:
    with clear_errors(ValueError):
        settings = settings_in_force()
        set_up_logs(settings.log_json)
        job(settings)


@run.command()
@_metrics
def normalize(metrics: str | None) -> None:
    """Log lines -> events, tallies and dead letters. Start as many as you like, up to the number of partitions."""
    _start(lambda settings: _job("normalize").run(settings, metrics))


@run.command()
@click.option("--no-brake", is_flag=True, help="Hold no decision, whatever [brake] of the rules file says.")
@_metrics
def detect(no_brake: bool, metrics: str | None) -> None:
    """Tallies -> windows, rules -> decisions. Start as many as you like, up to the number of partitions."""
    _start(lambda settings: _job("detect").run(settings, metrics, brake=not no_brake))


def _hook_options(command: Callable[..., None]) -> Callable[..., None]:
    """What the hooks may be given, in the order of HOOKS: where they are served, then what changes their answers."""
    for option in reversed((*_PLACES, *_FLAGS)):
        match option.kind:
            case "address":
                made = click.option(option.name, metavar="HOST:PORT", help=option.help)
            case "path":
                made = click.option(option.name, type=click.Path(path_type=Path), help=option.help)
            case "flag":
                made = click.option(option.name, is_flag=True, help=option.help)
        command = made(command)
    return command


@run.command()
@_hook_options
@click.option("--shadow", is_flag=True, help="Restrict nobody: log and count what would have been answered.")
@click.option(
    "--unix-mode",
    type=FileMode(),
    default="0660",
    show_default=True,
    help="Of UNIX sockets. 0666 lets everybody on this host ask.",
)
@click.option(
    "--unix-group",
    default="",
    metavar="GROUP",
    help=f"Of UNIX sockets: whose members may connect ('{USUAL_GROUP}' where there is such a group).",
)
@click.option(
    "--agent-group",
    default="",
    metavar="GROUP",
    help="Whose members may ask what is in force (SEKIMORI_AGENT_SOCKET); else only this user and root.",
)
@click.option("--clock-offset", type=float, default=0.0, help="Seconds added to the clock, to replay an old log.")
@_metrics
def enforce(
    unix_mode: int,
    unix_group: str,
    agent_group: str,
    clock_offset: float,
    metrics: str | None,
    **options: str | Path | bool | None,
) -> None:
    """Answers the mail servers of this host, from a table kept in memory. One on each host.

    Postfix asks over a UNIX socket as the user postfix, and, where its services run in a chroot, finds the path within
    /var/spool/postfix. At the start the log says who may connect.
    """
    access = SocketAccess(unix_mode, unix_group)
    given = {f"--{name.replace('_', '-')}": value for name, value in options.items() if value}
    if not any(option.name in given for option in _PLACES):
        raise click.UsageError(f"give at least one of {', '.join(option.name for option in _PLACES)}")
    more = {"metrics": metrics, "clock_offset": clock_offset, "access": access, "operators": agent_group}
    _start(lambda settings: _job("enforce").run(settings, given, **more))


@run.command()
@_metrics
def store(metrics: str | None) -> None:
    """Events, dead letters and decisions -> ClickHouse, for analysts. Set SEKIMORI_CLICKHOUSE."""
    _start(lambda settings: _job("store").run(settings, metrics))
