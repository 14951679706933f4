"""``sekimori replay``: the whole flow in memory, over log files."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec
from rich.text import Text

from pipeline.adapters.files.logfile import named_frames
from pipeline.cli.common import (
    clear_errors,
    clock_notes,
    country_lookup,
    doubles_notes,
    flow_options,
    missed_notes,
    note_no_geoip,
    refuse_blank,
    rules_in_force,
    zones_of_hosts,
)
from pipeline.cli.configured import settings_in_force
from pipeline.cli.terminal import json_option, lines_progress, plain_table, printable, safe, table_console
from pipeline.detect.brake import brake_notes
from pipeline.detect.decide import duration_text
from pipeline.replay import Replay
from schemas.codec import encode
from schemas.enforcement import Decision

PIPED = 200  # columns where there is no terminal


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, allow_dash=True))
@flow_options
@json_option(
    "One enforcement message a line, `would_hold` with those that the brake would hold; the summary goes to stderr."
)
def replay(
    files: tuple[Path, ...], rules_path: Path | None, geoip: Path | None, home: str, zone: ZoneInfo, as_json: bool
) -> None:
    """Shows what Sekimori would have decided on these logs.

    FILES are logs of any known format, plain or packed, `-` for standard input. Several files are read side by
    side, in the order of time, as the cluster would have read them. Nothing is sent anywhere.
    """
    with clear_errors():
        partitions = settings_in_force().partitions
        flow = Replay(rules_in_force(rules_path, home), zone, country_lookup(geoip), zones_of_hosts(), partitions)
        started = time.monotonic()
        decisions = []
        for decision in _decisions(flow, files):
            decisions.append(decision)
            if as_json:
                sys.stdout.buffer.write(_line(flow, decision) + b"\n")
        sys.stdout.flush()
    took = time.monotonic() - started
    if not as_json:
        _print_decisions(flow, decisions)
    note_no_geoip(geoip)
    click.echo(_summary(flow, decisions, took), err=as_json)
    refuse_blank([source for source, counts in flow.of_source.items() if counts.is_blank])


def _decisions(flow: Replay, files: tuple[Path, ...]) -> Iterator[Decision]:
    total = sum(path.stat().st_size for path in files if str(path) != "-")
    with lines_progress("replay", total) as show:
        found = 0
        for frame, decisions in flow.run(named_frames(files, time.time())):
            yield from decisions
            found += len(decisions)
            show(frame.source, frame.position, flow.counts.lines, found)
            del frame  # so that the next one can take the same memory


def _line(flow: Replay, decision: Decision) -> bytes:
    """The message; ``would_hold`` is none of its fields, and is there only where it is true."""
    if decision.id not in flow.held:
        return encode(decision)
    return msgspec.json.encode(msgspec.to_builtins(decision) | {"would_hold": True})


def _print_decisions(flow: Replay, decisions: list[Decision]) -> None:
    whole = ("time (UTC)", "action", "scope", "for")
    table = plain_table("time (UTC)", "subject", "action", "scope", "for", "why", whole=whole)
    for d in decisions:
        action = Text(d.action, style={"reject": "red", "deny_login": "magenta"}.get(d.action, ""))
        if d.mode == "shadow":
            action.append(" (shadow)", style="dim")
        if d.id in flow.held:
            action.append(" (would be held)", style="dim")
        length = int((d.expires_at - d.issued_at).total_seconds())
        why = d.reason.removeprefix(f"{d.subject}: ")
        cells = (f"{d.issued_at:%m-%d %H:%M:%S}", d.subject, action, d.scope, duration_text(length), why)
        table.add_row(*(safe(c) if isinstance(c, str) else c for c in cells))
    if decisions:
        table_console(PIPED).print(table)


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
    lines += brake_notes(flow.would_hold)
    lines += clock_notes(counts) + doubles_notes(counts.doubled) + missed_notes(counts)
    lines += [f"unreadable: {printable(d.reason)}: {json.dumps(d.raw[:200])}" for d in flow.unread[:5]]
    return "\n".join(lines)
