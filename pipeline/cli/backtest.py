"""``sekimori backtest``: what another rules file would have done on these logs."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pipeline.adapters.backtests import Backtest, Plan, run
from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.adapters.workers import WorkerLost
from pipeline.rules import build
from pipeline.rules.config import RulesError, RulesFile, load
from pipeline.trials.cases import Case, CasesError, parse_cases
from pipeline.trials.comparison import ChangedDecision, Comparison, Side, Tried, put_side_by_side
from pipeline.trials.wording import pair_text, side_rows

SHOWN = 100  # rows of a table in the terminal

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def parse_zone(ctx: click.Context, param: click.Parameter, value: str) -> ZoneInfo:
    """An IANA zone. Raises click.BadParameter."""
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise click.BadParameter(f"{value!r} is no IANA zone such as Asia/Tokyo") from None


@click.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--rules", "rules_path", required=True, type=_FILE, help="The rules file to be tried.")
@click.option("--baseline", type=_FILE, help="The rules file in force; the shipped rules if not given.")
@click.option("--from", "start", type=click.DateTime(), help="Report decisions from this time on (in --zone).")
@click.option("--to", "stop", type=click.DateTime(), help="Leave out what happened at this time or later.")
@click.option("--cases", "cases_path", type=_FILE, help="Known cases: .toml, .csv or .jsonl, see docs/tuning.md.")
@click.option("--geoip", type=_FILE, help="MaxMind DB file.")
@click.option("--home", default="JP", show_default=True, help="ISO 3166 code of the provider's country.")
@click.option("--zone", callback=parse_zone, default="UTC", show_default=True, help="IANA zone of lines without one.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes. [default: one for each core]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of tables.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page with charts here.")
def backtest(
    files: tuple[Path, ...],
    rules_path: Path,
    baseline: Path | None,
    start: datetime | None,
    stop: datetime | None,
    cases_path: Path | None,
    geoip: Path | None,
    home: str,
    zone: ZoneInfo,
    jobs: int | None,
    as_json: bool,
    html: Path | None,
) -> None:
    """Shows what another rules file would have done differently on these logs.

    FILES are logs of any of the known formats, plain or gz. They are replayed once; both rules files judge the same
    counts. What lies before --from is counted, but not reported. Nothing is sent anywhere.
    """
    if html and not html.parent.is_dir():
        raise click.BadParameter(f"there is no folder {html.parent}", param_hint="--html")
    try:
        rules = tuple(_rules(path, home) for path in (baseline, rules_path))
        if geoip:
            GeoFile(geoip)
        cases = load_cases(cases_path, zone)
        plan = Plan(files, rules, home, zone, geoip, _seconds(start, zone, -1), _seconds(stop, zone, 1), tuple(cases))
        started = time.monotonic()
        with _progress() as progress, _ended_by_signal():
            done = run(plan, jobs or os.cpu_count() or 1, progress)
        took = time.monotonic() - started
        it = _compared(done, baseline, rules_path, cases)
        if html:
            _write(html, it)
    except (RulesError, GeoFileError, CasesError, WorkerLost, OSError) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(as_data(it)))
    else:
        _print(it)
    speed = f"{done.lines / max(took, 1e-9):,.0f} lines/s under two rule sets"
    unread = f"{done.ignored:,} of no known format, {done.unreadable:,} unreadable"
    click.echo(f"{done.lines:,} lines in {took:.1f} s ({speed}); {unread}", err=True)
    if geoip is None:
        click.echo("No --geoip file: every address counts as at home.", err=True)


def _rules(path: Path | None, home: str) -> RulesFile:
    file = load(path)
    build(file, home, str(path or "default.toml"))
    return file


def load_cases(path: Path | None, zone: tzinfo) -> list[Case]:
    """Known cases; none without a file. Raises CasesError, OSError."""
    if path is None:
        return []
    try:
        return parse_cases(path.read_text(encoding="utf-8-sig"), str(path), zone)
    except UnicodeDecodeError as error:
        raise CasesError(f"{path}: cannot be read: {error}") from None


def _seconds(time_given: datetime | None, zone: tzinfo, end: int) -> float:
    return end * float("inf") if time_given is None else time_given.replace(tzinfo=zone).timestamp()


def _compared(done: Backtest, baseline: Path | None, rules: Path, cases: list[Case]) -> Comparison:
    before, after = done.outcomes
    names = (baseline.name if baseline else "shipped rules"), rules.name
    tried = Tried(names[0], before.decisions, before.effects), Tried(names[1], after.decisions, after.effects)
    return put_side_by_side(*tried, cases, after.subjects, done.lines)


@contextmanager
def _progress() -> Iterator[Callable[[str, float, int], None]]:
    console = Console(stderr=True)
    columns = TextColumn("{task.description:<8}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %")
    bar = Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal, transient=True)
    task = bar.add_task("reading", total=1.0)

    def show(what: str, part: float, lines: int) -> None:
        if not bar.live.is_started:
            bar.start()  # only now: it is a thread, and workers had to be forked before
        bar.update(task, description=what, completed=part)

    try:
        yield show
    finally:
        bar.stop()


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """SIGTERM ends us as Ctrl-C does: workers are stopped, and their folder is removed."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(path: Path, it: Comparison) -> None:
    from pipeline.adapters.report import page  # noqa: PLC0415  # drawing takes a second to import

    path.write_text(page(it), encoding="utf-8")


def _print(it: Comparison) -> None:
    console = Console()
    table = _table("", (it.baseline.name, "right"), (it.new.name, "right"))
    for row in side_rows(it):
        table.add_row(*map(safe, row))
    console.print(table)
    if it.accounts:
        accounts = _table("account", "known as", "is", ("messages stopped", "right"), ("logins stopped", "right"))
        for c in it.accounts[:SHOWN]:
            messages, logins = (f"{getattr(c.before, n)} → {getattr(c.after, n)}" for n in ("messages", "logins"))
            accounts.add_row(*map(safe, (c.account, c.label, c.turn, messages, logins)))
        console.print(accounts, _more(len(it.accounts)))
    if it.changes:
        changes = _table("time (UTC)", "change", "rule", "why", ("left", "right"), ("stopped", "right"))
        for changed in it.changes[:SHOWN]:
            changes.add_row(*map(safe, _cells(changed)))
        console.print(changes, _more(len(it.changes)))
    found = ", ".join(f"{count} {kind}" for kind, count in it.counts().items())
    console.print(f"Decisions: {found}." if found else "No decision differs.")


def _table(*columns: str | tuple[str, str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        name, right = (column, False) if isinstance(column, str) else (column[0], True)
        table.add_column(safe(name), overflow="fold", justify="right" if right else "left", no_wrap=name == "change")
    return table


def _more(rows: int) -> str:
    return f"… and {rows - SHOWN} more (--json shows all)\n" if rows > SHOWN else ""


def _cells(changed: ChangedDecision) -> tuple[str, ...]:
    decision, seconds = changed.change.decision, changed.change.seconds
    kind = changed.change.kind + (f" {seconds:+.0f} s" if seconds else "")
    rule = decision.rule + (" (shadow)" if decision.mode == "shadow" else "")
    figures = (pair_text(changed.before, changed.after, name) for name in ("left", "messages"))
    return f"{decision.issued_at:%m-%d %H:%M:%S}", kind, rule, decision.reason, *figures


def safe(text: str) -> Text:
    """Without markup and control characters: names come from logs, and could drive a terminal."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def as_data(it: Comparison) -> dict[str, object]:
    """For ``--json``: what ``docs/tuning.md`` describes."""
    return {
        "baseline": _side_data(it.baseline),
        "new": _side_data(it.new),
        "changes": [_change_data(changed) for changed in it.changes],
        "accounts": [msgspec.to_builtins(change) for change in it.accounts],
        "messages": it.messages,
        "subjects": it.subjects,
        "lines": it.lines,
    }


def _side_data(side: Side) -> object:
    return msgspec.to_builtins(side)


def _change_data(changed: ChangedDecision) -> dict[str, object]:
    effects = {
        name: None if effect is None else {key: getattr(effect, key) for key in effect.__struct_fields__}
        for name, effect in (("before", changed.before), ("after", changed.after))
    }
    return {
        "kind": changed.change.kind,
        "seconds": changed.change.seconds,
        "before": msgspec.to_builtins(changed.change.before),
        "after": msgspec.to_builtins(changed.change.after),
        "effects": effects,
    }
