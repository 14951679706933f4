"""``sekimori decisions``: who is restricted and why, and what an operator does about it."""

from typing import ClassVar

import click

from pipeline.cli.lazy import LazyGroup

_HERE = "pipeline.cli.decisions"


class _Decisions(LazyGroup):
    listed: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("allow", f"{_HERE}.changing", "allow"),
        ("allowlist", f"{_HERE}.looking", "allowlist"),
        ("block", f"{_HERE}.changing", "block"),
        ("disallow", f"{_HERE}.changing", "disallow"),
        ("let-go", f"{_HERE}.holding", "let_go_"),
        ("list", f"{_HERE}.listing", "list_"),
        ("release", f"{_HERE}.changing", "release"),
        ("show", f"{_HERE}.looking", "show"),
    )


@click.group(cls=_Decisions)
@click.option("--brokers", help="Kafka bootstrap servers, host:port[,host:port].  [default: SEKIMORI_BROKERS]")
@click.pass_context
def decisions(ctx: click.Context, brokers: str | None) -> None:
    """Shows, makes and lifts restrictions.

    A SUBJECT is an account (user@domain), an address, a prefix (CIDR), a country (two capital letters), or
    'account|address'. Whatever is done here reaches every mail server within seconds.
    """
    ctx.obj = brokers
