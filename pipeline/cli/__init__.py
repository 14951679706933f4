"""The command ``sekimori``. Each command is a module of this package, imported when it is called."""

from typing import ClassVar

import click

from pipeline.cli.configured import add_settings_option
from pipeline.cli.lazy import LazyGroup

# name of the command, of its module here and of the function there; short help
COMMANDS: tuple[tuple[str, str], ...] = (
    ("demo", "The whole of it on this machine, in a minute."),
    ("parse", "What is understood of each line of a log."),
    ("replay", "What would have been decided on these logs."),
    ("load", "Logs into a folder, for analysis in notebooks."),
    ("backtest", "What another rules file would have done."),
    ("suggest", "Limits from data, for a wanted false-positive budget."),
    ("settings", "Shows the settings in force."),
    ("rules", "Shows the rules, and checks a rules file."),
    ("prepare", "Creates the topics."),
    ("ship", "Log files -> Kafka."),
    ("run", "A job of the cluster: normalize, detect, enforce, store."),
    ("decisions", "Shows, makes and lifts decisions; the allowlist."),
    ("keys", "Makes and checks the keys that decisions are signed with."),
)


class _Commands(LazyGroup):
    listed: ClassVar[tuple[tuple[str, str, str], ...]] = tuple(
        (name, f"pipeline.cli.{name}", name) for name, _ in COMMANDS
    )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing any, so that ``sekimori --help`` answers at once."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="sekimori")
def main() -> None:
    """Finds stolen mail accounts in a provider's logs and stops them within seconds."""


add_settings_option(main)
