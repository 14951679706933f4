"""``sekimori suggest``: limits from data, for a wanted false-positive budget."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.adapters.logfile import FileFrame, merged
from pipeline.cli.backtest import load_cases, parse_zone, safe
from pipeline.enrich import no_country
from pipeline.flow import Replay, first_time
from pipeline.rules import RULES, build
from pipeline.rules.config import RulesError, load
from pipeline.trials.cases import CasesError
from pipeline.trials.maxima import Maxima, Watching
from pipeline.trials.suggest import Suggestion, as_toml, honest, limit_text
from pipeline.trials.suggest import suggest as suggest_limit

WIDTH = 130  # where there is no terminal to fit
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def _part(ctx: click.Context, param: click.Parameter, value: str) -> float:
    try:
        part = float(Fraction(value.replace(" ", "")))
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter(f"{value!r} is no part such as 1/10000 or 0.0001") from None
    if not 0 < part < 1:
        raise click.BadParameter("it must lie between 0 and 1, both left out")
    return part


@click.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option(
    "--false-positives",
    "budget",
    callback=_part,
    default="1/10000",
    show_default=True,
    help="Part of honest accounts (or networks) that each limit may hit on a day.",
)
@click.option("--rule", "only", type=click.Choice([rule.id for rule in RULES]), help="Only this rule's limits.")
@click.option("--rules", "rules_path", type=_FILE, help="The rules file in force; the shipped rules if not given.")
@click.option("--cases", "cases_path", type=_FILE, help="Known cases: .toml, .csv or .jsonl, see docs/tuning.md.")
@click.option("--geoip", type=_FILE, help="MaxMind DB file.")
@click.option("--home", default="JP", show_default=True, help="ISO 3166 code of the provider's country.")
@click.option("--zone", callback=parse_zone, default="UTC", show_default=True, help="IANA zone of lines without one.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the drawing of subjects.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each limit, in place of TOML and table.")
def suggest(
    files: tuple[Path, ...],
    budget: float,
    only: str | None,
    rules_path: Path | None,
    cases_path: Path | None,
    geoip: Path | None,
    home: str,
    zone: ZoneInfo,
    seed: int,
    as_json: bool,
) -> None:
    """Proposes limits: for each, the smallest that few enough honest accounts reach.

    FILES are logs of any of the known formats, plain or gz, of a week or more. The rules file that comes out goes to
    standard output, and how sure each limit is to standard error. Try it with `sekimori backtest` before use.
    """
    try:
        rules = build(load(rules_path), home, str(rules_path or "default.toml"))
        cases = load_cases(cases_path, zone)
        flow = Replay(rules, zone, GeoFile(geoip) if geoip else no_country)
        maxima = Maxima(rules, zone, only)
        flow.detector = watching = Watching(rules, maxima)
        _read(flow, files)
    except (RulesError, GeoFileError, CasesError, OSError) as error:
        raise click.ClickException(str(error)) from None
    is_honest = honest(watching.suspects, cases)
    found = [suggest_limit(seen, is_honest, len(maxima.days), budget, seed) for seen in maxima.seen()]
    if as_json:
        for one in found:
            click.echo(json.dumps(msgspec.to_builtins(one)))
    else:
        _print(found)
        click.echo(as_toml(found, budget), nl=False)
    if geoip is None:
        click.echo("No --geoip file: every address counts as at home.", err=True)


def _read(flow: Replay, files: tuple[Path, ...]) -> None:
    def time_of(frame: FileFrame) -> float:
        return first_time(frame.content, frame.reference, flow.zone)

    positions: dict[str, int] = {}
    with _progress(sum(path.stat().st_size for path in files)) as show:
        for frame in merged(list(files), time_of, time.time()):
            for _ in flow.feed(frame.content, frame.reference, frame.source):
                pass
            positions[frame.source] = frame.compressed_position
            show(sum(positions.values()), flow.lines)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int, int], None]]:
    console = Console(stderr=True)
    columns = TextColumn("suggest"), BarColumn(), TextColumn("{task.fields[lines]:,} lines"), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("suggest", total=total or None, lines=0)
        yield lambda done, lines: bar.update(task, completed=done, lines=lines)


def _print(found: Sequence[Suggestion]) -> None:
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("rule", "limit in force", "most seen", "reach it", "suggested", "95 %", "certainty"):
        table.add_column(name, overflow="fold", justify="right" if name in ("most seen", "reach it") else "left")
    last = ""
    for one in found:
        rule = one.rule if one.rule.startswith(one.kind) else f"{one.rule} ({one.kind})"
        sure = one.high is not None
        row = (
            rule if rule != last else "",
            f"{one.group}: {limit_text(one.limit, one.limit.count)}",
            f"{one.most:,}",
            f"{one.reached:,} of {one.subject_days:,}",
            f"{one.count:,}" if sure else "-",
            f"{one.low:,} to {one.high:,}" if sure else "-",
            one.certainty,
        )
        table.add_row(*map(safe, row))
        last = rule
    console.print(table)
    if found:
        console.print(_data(found), markup=False, highlight=False)


def _data(found: Sequence[Suggestion]) -> str:
    """How much there is to go by, in a sentence or two."""
    days = found[0].days
    kinds = {one.kind: one for one in found}
    subjects = ", ".join(
        f"{kind}: {one.subjects:,} honest, {one.subject_days:,} subject-days" for kind, one in kinds.items()
    )
    text = (
        f"{days} day{'s' if days != 1 else ''} of data; {subjects}. Certain from {found[0].needed:,} subject-days on."
    )
    if days < 7:
        text += " Fewer than 7 days: no weekly habit is seen."
    if any(one.certainty == "too little data" for one in found):
        text += " Where there are too little data, the limit stays as it is."
    return text
