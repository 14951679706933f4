"""``sekimori parse``: what is understood of a log, line by line."""

import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import msgspec

from pipeline.adapters.files.logfile import Content, open_log
from pipeline.cli.common import missed_notes, refuse_blank, zone_option, zones_of_hosts
from pipeline.formats.reading.around.missed import looks_like_mail
from pipeline.formats.reading.format import Outcome, Unreadable
from pipeline.formats.reading.lines import LineReader, split_frame
from pipeline.normalize.joining.join import Joiner
from pipeline.replay import LineCounts
from schemas.event import Event

_FRAME = 1 << 18
_LONGEST_LINE = 1 << 24  # a file without line ends must not fill the memory


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@zone_option("Zone of time stamps that carry none.")
@click.option("--year", type=click.IntRange(1970, 9998), help="Year of the last line, for time stamps without a year.")
@click.option(
    "--reference", type=click.DateTime(), help="Time (UTC) when the last line was written, in place of --year."
)
def parse(file: Path, zone: ZoneInfo, year: int | None, reference: datetime | None) -> None:
    """Print one JSON object for each line of FILE (plain, gz, xz, bz2 or zst; "-" reads standard input).

    Lines that no format claims give {"kind":"ignored"}, lines that one claims and cannot read {"kind":"unreadable"}
    with the reason. Lines of one message are joined by queue id, as the cluster does: the line that says that a
    message of an authenticated client was accepted is its submission, with account and address. Time stamps without a
    year get the one that puts them nearest before the file's last change. A line that holds many records (of
    OpenTelemetry, say) gives an object for each. Of ignored lines that look like mail log, standard error tells.
    """
    if year is not None and reference is not None:
        raise click.UsageError("give --year or --reference, not both")
    try:
        with open_log(file) as log:
            changed = time.time() if str(file) == "-" else os.fstat(log.raw.fileno()).st_mtime
            given = _reference(zone, year, reference)
            reader = LineReader(zone, zones_of_hosts())
            counts = _print_all(log.content, reader, changed if given is None else given)
    except BrokenPipeError:
        # The reader of our output went away: give the interpreter nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    except OSError as error:
        raise click.ClickException(f"{file}: {error}") from None
    for note in missed_notes(counts):
        click.echo(note, err=True)
    refuse_blank([str(file)] if counts.is_blank else [])


def _reference(zone: ZoneInfo, year: int | None, reference: datetime | None) -> float | None:
    if reference is not None:
        return reference.replace(tzinfo=UTC).timestamp()
    if year is not None:
        # Stamps may lie up to a day after the reference: this one ends with the year.
        return datetime(year, 12, 30, 23, 59, 59, tzinfo=zone).timestamp()
    return None


def _frames(stream: Content) -> Iterator[bytes]:
    """Whole lines, about ``_FRAME`` bytes at a time; a line without an end is cut at ``_LONGEST_LINE``."""
    pieces: list[bytes] = []
    held = 0
    while chunk := stream.read1(_FRAME):
        end = chunk.rfind(b"\n") + 1
        if end or held > _LONGEST_LINE:
            yield b"".join(pieces) + chunk[:end]
            pieces, held, chunk = [], 0, chunk[end:]
        pieces.append(chunk)
        held += len(chunk)
    if held:
        yield b"".join(pieces)


def _print_all(stream: Content, reader: LineReader, reference: float) -> LineCounts:
    encoder, joiner, counts = msgspec.json.Encoder(), Joiner(), LineCounts()
    output = sys.stdout.buffer
    for frame in _frames(stream):
        lines = split_frame(frame, keep_empty=True)
        outcomes = reader.read_lines(lines, reference)
        # Sessions are not joined: that a failure was told before is seen in its line only by what it no longer counts.
        joiner.join(read for read in outcomes if isinstance(read, Event) and read.queue_id is not None)
        for line, outcome in zip(lines, outcomes, strict=True):
            output.write(encoder.encode(_printable(outcome)) + b"\n")
            _count(counts, line, outcome)
        output.flush()
    return counts


def _count(counts: LineCounts, line: str, outcome: Outcome) -> None:
    counts.lines += bool(line)
    if isinstance(outcome, Event):
        counts.events += 1
    elif outcome is None and looks_like_mail(line):
        counts.missed += 1
        counts.first_missed = counts.first_missed or line


def _printable(outcome: Event | Unreadable | None) -> object:
    if outcome is None:
        return {"kind": "ignored"}
    if isinstance(outcome, Unreadable):
        return {"kind": "unreadable", "format": outcome.format, "reason": outcome.reason}
    return outcome
