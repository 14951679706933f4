"""``sekimori replay``: the whole flow in memory, over log files."""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipeline.adapters.files.logfile import named_frames
from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.detect.decide import duration_text
from pipeline.normalize.enrich import no_country
from pipeline.replay import Replay
from pipeline.rules import build
from pipeline.rules.config import RulesError, load
from schemas.codec import encode
from schemas.enforcement import Decision

PIPED = 200  # columns where there is no terminal


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, allow_dash=True))
@click.option("--rules", "rules_path", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Rules file.")
@click.option("--geoip", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="MaxMind DB file.")
@click.option("--home", default="JP", show_default=True, help="ISO 3166 code of the provider's country.")
@click.option("--zone", default="UTC", show_default=True, help="IANA zone of lines without one, e.g. Asia/Tokyo.")
@click.option("--json", "as_json", is_flag=True, help="One enforcement message a line; the summary goes to stderr.")
def replay(
    files: tuple[Path, ...], rules_path: Path | None, geoip: Path | None, home: str, zone: str, as_json: bool
) -> None:
    """Shows what Sekimori would have decided on these logs.

    FILES are logs of any of the known formats, plain or gz, `-` for standard input. Several files are read side by
    side, in the order of time, as the cluster would have read them. Nothing is sent anywhere.
    """
    if not re.fullmatch("[A-Z]{2}", home):
        raise click.BadParameter(f"{home!r} is no ISO 3166 code such as JP", param_hint="--home")
    try:
        rules = build(load(rules_path), home, str(rules_path or "default.toml"))
        lookup = GeoFile(geoip) if geoip else no_country
        flow = Replay(rules, ZoneInfo(zone), lookup)
    except (RulesError, GeoFileError) as error:
        raise click.ClickException(str(error)) from None
    except (ZoneInfoNotFoundError, ValueError):
        raise click.BadParameter(f"{zone!r} is no IANA zone such as Asia/Tokyo", param_hint="--zone") from None
    started = time.monotonic()
    decisions = []
    try:
        for decision in _decisions(flow, files, as_json):
            decisions.append(decision)
            if as_json:
                sys.stdout.buffer.write(encode(decision) + b"\n")
        sys.stdout.flush()
    except OSError as error:
        raise click.ClickException(str(error)) from None
    took = time.monotonic() - started
    if not as_json:
        _print_decisions(decisions)
    if geoip is None:
        click.echo("No --geoip file: every address counts as at home.", err=True)
    click.echo(_summary(flow, decisions, took), err=as_json)


def _decisions(flow: Replay, files: tuple[Path, ...], quiet: bool) -> Iterator[Decision]:
    total = sum(path.stat().st_size for path in files if str(path) != "-")
    console = Console(stderr=True)
    with Progress(
        TextColumn("replay"),
        BarColumn(),
        TextColumn("{task.fields[lines]:,} lines, {task.fields[found]} decisions"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        task = progress.add_task("replay", total=total or None, lines=0, found=0)
        positions: dict[str, int] = {}
        found = 0
        for frame, decisions in flow.run(named_frames(files, time.time())):
            yield from decisions
            found += len(decisions)
            positions[frame.source] = frame.position
            progress.update(task, completed=sum(positions.values()), lines=flow.counts.lines, found=found)
            del frame  # so that the next one can take the same memory


def _print_decisions(decisions: list[Decision]) -> None:
    console = Console(width=None if sys.stdout.isatty() else PIPED)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("time (UTC)", "subject", "action", "scope", "for", "why"):
        table.add_column(name, overflow="fold", no_wrap=name not in ("subject", "why"))
    for d in decisions:
        action = Text(d.action, style={"reject": "red", "deny_login": "magenta"}.get(d.action, ""))
        if d.mode == "shadow":
            action.append(" (shadow)", style="dim")
        length = int((d.expires_at - d.issued_at).total_seconds())
        why = d.reason.removeprefix(f"{d.subject}: ")
        cells = (f"{d.issued_at:%m-%d %H:%M:%S}", d.subject, action, d.scope, duration_text(length), why)
        table.add_row(*(Text(printable(c)) if isinstance(c, str) else c for c in cells))
    if decisions:
        console.print(table)


def printable(text: str) -> str:
    """Without control characters, which could drive a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _summary(flow: Replay, decisions: list[Decision], took: float) -> str:
    kinds = Counter(d.subject_kind for d in decisions if d.action != "notify")
    subjects = {kind: len({d.subject for d in decisions if d.subject_kind == kind}) for kind in kinds}
    rules = Counter(d.rule for d in decisions)
    counts = flow.counts
    lines = [
        f"{counts.lines:,} lines in {took:.1f} s ({counts.lines / max(took, 1e-9):,.0f} lines/s); "
        f"{counts.ignored:,} of no known format, {counts.unreadable:,} unreadable",
        f"{len(decisions)} decisions: "
        + (", ".join(f"{n} {kind.replace('_', ' + ')}" for kind, n in sorted(subjects.items())) or "nobody restricted"),
        *(f"  {n:>5}  {rule}" for rule, n in rules.most_common()),
    ]
    lines += [f"unreadable: {printable(d.reason)}: {json.dumps(d.raw[:200])}" for d in flow.unread[:5]]
    return "\n".join(lines)
