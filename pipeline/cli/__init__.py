"""The command ``sekimori``. Each command is a module of this package, imported when it is called."""

import importlib

import click

# name -> module; the function in it has the command's name (with _ for -)
COMMANDS: tuple[tuple[str, str], ...] = (
    ("replay", "pipeline.cli.replay"),
    ("parse", "pipeline.cli.parse"),
    ("ship", "pipeline.cli.ship"),
    ("decisions", "pipeline.cli.decisions"),
    ("prepare", "pipeline.cli.prepare"),
    ("run", "pipeline.cli.run"),
    ("rules", "pipeline.cli.rules"),
    ("demo", "pipeline.cli.demo"),
)


class _Lazy(click.Group):
    """Imports a command's module only when it is asked for, so that ``sekimori --help`` starts at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, _ in COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = dict(COMMANDS).get(cmd_name)
        if module is None:
            return None
        command = getattr(importlib.import_module(module), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="sekimori")
def main() -> None:
    """Finds stolen mail accounts in a provider's logs and stops them within seconds."""
