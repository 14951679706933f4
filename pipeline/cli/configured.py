"""The settings that a command works with: its options, before the environment, before the settings file.

``--settings FILE`` is an option of every command and of ``sekimori`` itself; ``SEKIMORI_SETTINGS`` names it for all.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pipeline.adapters.secrets import read_by_others
from pipeline.settings import FILE, Origin, Settings, SettingsError

_KEY = "sekimori.settings"
_TOLD = "sekimori.settings.told"
FromSettings = Callable[[Settings], Any]


def add_settings_option(command: click.Command) -> click.Command:
    """Gives a command, and those below it, the option ``--settings``."""
    if not any(param.name == "settings_file" for param in command.params):
        command.params.append(
            click.Option(
                ["--settings", "settings_file"],
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                expose_value=False,
                is_eager=True,  # other options take their values from it
                callback=_note,
                help=f"The settings file.  [default: {FILE}]",
            )
        )
    if isinstance(command, click.Group):
        for below in command.commands.values():
            add_settings_option(below)
    return command


def _note(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.meta[_KEY] = value


def environment() -> dict[str, str]:
    """The environment, with the settings file that this command was given."""
    path = click.get_current_context().meta.get(_KEY)
    return dict(os.environ) | ({FILE: str(path)} if path is not None else {})


def settings_in_force() -> Settings:
    """Raises click.ClickException for what is unknown or impossible. Files with secrets that everybody can read are
    told of, once."""
    return with_origins()[0]


def with_origins() -> tuple[Settings, dict[str, Origin]]:
    """As ``settings_in_force``; also where each comes from."""
    env, meta = environment(), click.get_current_context().meta
    try:
        settings, origins = Settings.with_origins(env)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    if not meta.get(_TOLD):
        meta[_TOLD] = True
        in_file = frozenset(name for name, origin in origins.items() if origin == "file")
        for warning in read_by_others(settings, Path(env[FILE]) if env.get(FILE) else None, in_file):
            click.echo(f"warning: {warning}", err=True)
    return settings, origins


def is_given(option: str) -> bool:
    """Was it given on the command line?"""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def or_setting(value: Any, taken: FromSettings) -> Any:
    """What an option was given, else what the settings say."""
    return taken(settings_in_force()) if value is None else value
