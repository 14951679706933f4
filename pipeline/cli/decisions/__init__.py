"""``sekimori decisions``: who is restricted and why, and what an operator does about it."""

import click

from pipeline.cli.decisions.changing import allow, block, disallow, release
from pipeline.cli.decisions.holding import let_go_
from pipeline.cli.decisions.listing import list_
from pipeline.cli.decisions.looking import allowlist, show


@click.group(commands=[list_, show, block, release, allow, disallow, allowlist, let_go_])
@click.option("--brokers", help="Kafka bootstrap servers, host:port[,host:port].  [default: SEKIMORI_BROKERS]")
@click.pass_context
def decisions(ctx: click.Context, brokers: str | None) -> None:
    """Shows, makes and lifts restrictions.

    A SUBJECT is an account (user@domain), an address, a prefix (CIDR), a country (two capital letters), or
    'account|address'. Whatever is done here reaches every mail server within seconds.
    """
    ctx.obj = brokers
