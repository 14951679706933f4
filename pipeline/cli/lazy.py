"""Groups of commands whose modules are imported when they are asked for: nobody waits for what another one needs."""

import importlib
from typing import Any, ClassVar

import click

from pipeline.cli.configured import add_settings_option


class LazyGroup(click.Group):
    """A subclass says which commands there are, in the order of the help: name, module, function there."""

    listed: ClassVar[tuple[tuple[str, str, str], ...]] = ()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return [name for name, *_ in self.listed]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """None if there is none of that name."""
        for name, module, function in self.listed:
            if name == cmd_name:
                command: Any = getattr(importlib.import_module(module), function)
                assert isinstance(command, click.Command)
                return add_settings_option(command)
        return None
