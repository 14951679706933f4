"""``sekimori decisions``: who is restricted and why, and what an operator does about it."""

import os

import click

from pipeline.adapters.kafka.security.access import cluster_of
from pipeline.cli.common import clear_errors
from pipeline.cli.decisions.changing import allow, block, disallow, release
from pipeline.cli.decisions.holding import let_go_
from pipeline.cli.decisions.looking import allowlist, list_, show
from pipeline.settings import Settings


@click.group(commands=[list_, show, block, release, allow, disallow, allowlist, let_go_])
@click.option("--brokers", envvar="SEKIMORI_BROKERS", default=Settings().brokers, show_default=True, help="Kafka.")
@click.pass_context
def decisions(ctx: click.Context, brokers: str) -> None:
    """Shows, makes and lifts restrictions.

    A SUBJECT is an account (user@domain), an address, a prefix (CIDR), a country (two capital letters), or
    'account|address'. Whatever is done here reaches every mail server within seconds.
    """
    with clear_errors():
        ctx.obj = cluster_of(Settings.from_env(os.environ), brokers)
