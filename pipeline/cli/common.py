"""What commands have in common: options that several take, what they are read into, and how errors are told."""

import re
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.cli.configured import or_setting, settings_in_force
from pipeline.cli.terminal import printable
from pipeline.formats.reading.around.missed import shown
from pipeline.networks import CountryOf, no_country
from pipeline.ports import MessageRefused, StoreError, TopicMissing
from pipeline.rules import RuleSet, build
from pipeline.rules.config import RulesError, load, seconds
from pipeline.settings import SettingsError

if TYPE_CHECKING:
    from pipeline.replay import LineCounts

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
LONGEST = timedelta(days=3653)

_EXPECTED: tuple[type[Exception], ...] = (
    *(RulesError, SettingsError, GeoFileError, StoreError, TopicMissing, MessageRefused),
    *(OSError, EOFError, zlib.error),  # files; brokers and stores that do not answer are ConnectionErrors
)
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


@contextmanager
def clear_errors(*more: type[Exception]) -> Iterator[None]:
    """What people can mend is told in a sentence: settings, files, brokers, stores, and ``more``. What is left are
    mistakes of ours, which keep their traces."""
    try:
        yield
    except (*_EXPECTED, *more) as error:
        raise click.ClickException(str(error)) from None


def parse_zone(ctx: click.Context, param: click.Parameter, value: str | None) -> ZoneInfo:
    """An IANA zone. Raises click.BadParameter."""
    try:
        return ZoneInfo(or_setting(value, lambda settings: settings.zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise click.BadParameter(f"{value!r} is no IANA zone such as Asia/Tokyo") from None


def parse_home(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """An ISO 3166 code. Raises click.BadParameter."""
    home: str = or_setting(value, lambda settings: settings.home)
    if not re.fullmatch("[A-Z]{2}", home):
        raise click.BadParameter(f"{value!r} is no ISO 3166 code such as JP")
    return home


def _default(setting: str) -> str:
    return f"  [default: SEKIMORI_{setting}]"


def _geoip_or_setting(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    found: Path | None = or_setting(value, lambda settings: settings.geoip)
    return found


def _rules_or_setting(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    found: Path | None = or_setting(value, lambda settings: settings.rules)
    return found


def zone_option(text: str = "IANA zone of lines without one, e.g. Asia/Tokyo.") -> _Decorator:
    """``--zone``, a ZoneInfo."""
    return click.option("--zone", callback=parse_zone, help=text + _default("ZONE"))


def home_option() -> _Decorator:
    """``--home``, two capital letters."""
    return click.option(
        "--home", callback=parse_home, help="ISO 3166 code of the provider's country." + _default("HOME")
    )


def geoip_option(text: str = "MaxMind DB file.") -> _Decorator:
    """``--geoip``, a file or None."""
    return click.option("--geoip", type=FILE, callback=_geoip_or_setting, help=text + _default("GEOIP"))


def rules_option(text: str = "Rules file.", name: str = "--rules", into: str = "rules_path") -> _Decorator:
    """``--rules``, a file or None, as ``rules_path``; or by another name, the rules in force all the same."""
    return click.option(name, into, type=FILE, callback=_rules_or_setting, help=text + _default("RULES"))


def zones_of_hosts() -> dict[str, ZoneInfo]:
    """``SEKIMORI_ZONES``: of single hosts, before ``--zone``."""
    return settings_in_force().named_zones()


def flow_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Those that decide what is made of log files: rules, countries, home, zone."""
    for option in (zone_option(), home_option(), geoip_option(), rules_option()):
        command = option(command)
    return command


def rules_in_force(path: Path | None, home: str) -> RuleSet:
    """A rules file laid over the shipped one, or that alone. Raises RulesError."""
    return build(load(path), home, str(path or "default.toml"))


def country_lookup(geoip: Path | None) -> CountryOf:
    """The look-up of ``--geoip``. Raises GeoFileError."""
    return GeoFile(geoip) if geoip else no_country


def note_no_geoip(geoip: Path | None) -> None:
    """Says on standard error what figures lack that came without the file."""
    if geoip is None:
        click.echo("No --geoip file, and no SEKIMORI_GEOIP: every address counts as at home.", err=True)


class Duration(click.ParamType):
    """``90s``, ``30m``, ``2h``, ``7d``, as in the rules file; at most 10 years."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Fails with a message for people."""
        try:
            length = timedelta(seconds=seconds(str(value)))
        except ValueError:
            length = timedelta(0)
        if not timedelta(0) < length <= LONGEST:
            self.fail(f"{value!r} is no length of time such as 30m, 2h or 7d (at most 10 years)", param, ctx)
        return length


class FileMode(click.ParamType):
    """``0660``: permission bits in octal."""

    name = "mode"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Fails with a message for people."""
        if isinstance(value, int):
            return value
        if not re.fullmatch(r"0?[0-7]{3}", str(value)):
            self.fail(f"{value!r} is no mode such as 0660", param, ctx)
        return int(str(value), 8)


def clock_notes(counts: "LineCounts") -> list[str]:
    """What a summary says of clocks and zones that were wrong."""
    notes = []
    for host, ahead in sorted(counts.clocks.items(), key=lambda item: -item[1])[:5]:
        name = printable(host) or "a host without a name"
        notes.append(f"the clock or zone of {name} is wrong: {ahead / 3600:.1f} h ahead")
    if counts.moved:
        notes.append(f"{counts.moved:,} lines of {len(counts.clocks)} hosts got the time of the lines beside them")
    if counts.left:
        notes.append(f"{counts.left:,} lines are later than the last change of their file: is the zone (--zone) right?")
    return notes


def missed_notes(counts: "LineCounts") -> list[str]:
    """What a summary says of lines that look like mail log and are of no known format."""
    if not counts.missed:
        return []
    what = "lines look like mail log and were" if counts.missed > 1 else "line looks like mail log and was"
    first = shown(counts.first_missed)
    return [f"{counts.missed:,} {what} not understood (see docs/log-forms.md), the first: {first}"]


def refuse_blank(names: Collection[str]) -> None:
    """Ends the command with an error if there are files of which no line was understood: that is no quiet day."""
    if names:
        files = ", ".join(printable(name) for name in names)
        raise click.ClickException(f"{files}: no line of it is understood; see docs/log-forms.md for what to do")


def doubles_notes(doubled: int) -> list[str]:
    """What a summary says of lines that lie in several files."""
    return [f"{doubled:,} lines are in several of these files, and were counted once"] if doubled else []
