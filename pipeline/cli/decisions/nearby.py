"""The agent of this host, which knows what holds without reading the topic; standard error says who was asked."""

from pathlib import Path

import click

from pipeline.adapters.agent.asking import AgentAnswer, AgentSilent, ask
from pipeline.cli.configured import settings_in_force
from pipeline.cli.terminal import printable
from pipeline.enforce.asked import Asked


def ask_nearby(socket: Path | None, asked: Asked, at: str) -> AgentAnswer | None:
    """None: Kafka is to be read. ``socket``: as the operator gave it. ``at``: whose decisions are wanted, see
    ``table_at``; an agent that obeys others is asked only where it was named."""
    settings = settings_in_force()
    path = socket or settings.agent_asked_at
    brokers_given = click.get_current_context().obj
    if socket is None and (brokers_given or not (settings.agent_socket or _may_be_there(path))):
        return None
    try:
        answer = ask(path, asked)
    except AgentSilent as error:
        click.echo(f"No agent answers at {path}: {printable(str(error))}. Kafka is read.", err=True)
        return None
    if answer.greeting.cluster != at and socket is None:
        others = printable(answer.greeting.cluster)
        click.echo(f"The agent at {path} obeys {others}, not {at}: Kafka is read (or: --agent {path}).", err=True)
        return None
    if answer.why_old:
        click.echo(f"The agent at {path} {answer.why_old}: Kafka is read.", err=True)
    else:
        click.echo(_whom(path, answer), err=True)
    return answer


def _may_be_there(path: Path) -> bool:
    """Also where we may not look."""
    try:
        return path.is_socket()
    except PermissionError:
        return True


def _whom(path: Path, answer: AgentAnswer) -> str:
    health, unobeyed = answer.greeting.health, answer.greeting.unobeyed
    told = [f"The agent at {path} was asked; it heard Kafka {answer.age:.1f} s ago"]
    if lag := health.get("lag_messages"):
        told.append(f"{lag} messages are still to be read")
    if unobeyed:
        told.append(f"it cannot obey what --kafka shows besides ({unobeyed:,})")
    if countries := health.get("unobeyed_countries"):
        told.append(f"without a GeoIP file it does not obey decisions about countries ({countries})")
    if health.get("shadow"):
        told.append("it restricts nobody (--shadow)")
    return printable("; ".join(told)) + "."
