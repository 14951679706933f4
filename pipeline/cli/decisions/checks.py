"""Whom a command would hit: everybody, our own country, our own hosts only with ``--yes``."""

from typing import Literal

import click

from pipeline.cli.common import clear_errors
from pipeline.cli.configured import settings_in_force
from pipeline.networks import Network, Subject, parse_network
from pipeline.rules.config import load
from schemas.kinds import SubjectKind

WIDEST = {32: 8, 128: 20}
"""A prefix that is shorter holds many providers."""
BIG = {32: 24, 128: 56}
"""Of a prefix that is shorter people are told how much it holds."""


def ask_if_wide(subject: Subject, yes: bool, what: Literal["restrict", "allow"]) -> None:
    """Raises click.UsageError without ``--yes`` where a slip of the hand would hit everybody, or ourselves."""
    if yes:
        return
    with clear_errors():
        why = _why_wide(subject, what)
    if why:
        raise click.UsageError(f"{subject[1]} {why}; if that is meant, give --yes")


def _why_wide(subject: Subject, what: str) -> str:
    kind, name = subject
    if kind == "country":
        home = settings_in_force().home
        return "is the own country (SEKIMORI_HOME): nearly all customers" if name == home and what == "restrict" else ""
    if kind not in {"ip", "prefix"}:
        return ""
    network = parse_network(name)
    if network.length == 0:
        return f"is everybody who comes by IPv{4 if network.bits == 32 else 6}"
    if network.length < WIDEST[network.bits]:
        return f"holds {_size(network)}"
    if what == "restrict":
        ours = load(settings_in_force().rules).trusted
        for text in (*ours.hosts, *ours.webmail):
            own = parse_network(text)
            if own.covers(network) or network.covers(own):
                return f"is, or holds, our own {text} ([trusted] of the rules file)"
    return ""


def how_many(name: str, kind: SubjectKind) -> str:
    """What a big prefix holds, in brackets; "" for everything else."""
    if kind not in {"ip", "prefix"}:
        return ""
    network = parse_network(name)
    return f" ({_size(network)})" if network.length < BIG[network.bits] else ""


def _size(network: Network) -> str:
    if network.bits == 32:
        return f"{1 << (32 - network.length):,} addresses"
    return f"{1 << (64 - network.length):,} networks of /64"


def needs_geoip(verb: str) -> str:
    """Of a country: who knows where an address lies."""
    return f"{verb} only by agents with a GeoIP file (SEKIMORI_GEOIP); one without it says so at /healthz"
