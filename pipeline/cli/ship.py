"""``sekimori ship``: log files to the topics ``maillog`` and ``authlog``."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pipeline.adapters.files.packing import MAGIC, packing_of
from pipeline.adapters.kafka.client import KafkaLog
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.security.access import Cluster, cluster_of, servers
from pipeline.adapters.kafka.security.acls import check_access
from pipeline.adapters.logs import set_up_logs
from pipeline.adapters.metrics_thread import served_metrics
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.adapters.shipping.feed import Keeper, Stream, World
from pipeline.adapters.shipping.frames import TopicChoice
from pipeline.adapters.shipping.hostzone import host_zone
from pipeline.adapters.shipping.journal import JOURNAL, JournalTail, journal_command
from pipeline.adapters.shipping.pipe import STANDARD_INPUT, PipeTail, Unkept
from pipeline.adapters.shipping.positions import Positions, Remembered
from pipeline.adapters.shipping.shipper import Options, Shipper
from pipeline.adapters.shipping.tail import Tail
from pipeline.cli.common import clear_errors
from pipeline.cli.configured import is_given, settings_in_force, with_origins
from pipeline.cli.terminal import json_option, print_json, progress
from pipeline.metrics import SHIP
from pipeline.normalize.zones import zone_of
from pipeline.ports import AccessRefused, BrokerUnavailable

# After this the broker counts as down, positions are read back, and sending begins again.
SEND_SECONDS = 10.0
_COLUMNS = (
    *(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()),
    TimeRemainingColumn(),
)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--follow", is_flag=True, help="Go on as the files grow, through rotation and truncation.")
@click.option(
    "--topic",
    type=click.Choice(["auto", "maillog", "authlog"]),
    default="auto",
    show_default=True,
    help="Where lines go; auto: IMAP, POP3 and SASL servers' to authlog, all others to maillog.",
)
@click.option("--host", default=socket.gethostname, show_default="this host", help="The host that wrote the files.")
@click.option("--from-start/--from-end", default=True, show_default=True, help="Where a file never shipped begins.")
@click.option("--again", is_flag=True, help="Forget how far the files were shipped.")
@click.option(
    "--olddir",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Another folder that rotated files are moved to.",
)
@click.option("--journal", is_flag=True, help="Ship the journal of systemd, besides FILES if there are any.")
@click.option(
    "--journal-from",
    type=click.Path(path_type=Path, exists=True),
    help="A folder of journal files, or one, in place of this host's.",
)
@click.option("--match", multiple=True, metavar="FIELD=VALUE", help="Of the journal only such entries.")
@click.option(
    "--zone",
    help="IANA zone of stamps without one.  [default: SEKIMORI_ZONE if it is set, else that of this host]",
)
@click.option("--metrics", metavar="HOST:PORT", help="Serve /metrics and /healthz there.")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="Folder for positions.")
@click.option("--batch-lines", type=click.IntRange(1, 10_000), default=200, show_default=True, help="Of one message.")
@click.option(
    "--linger-ms", type=click.IntRange(1, 60_000), default=200, show_default=True, help="Wait for more lines."
)
@click.option("--broker", help="Kafka bootstrap servers, host:port[,host:port].  [default: SEKIMORI_BROKERS]")
@json_option("The result as JSON.")
def ship(
    *,
    files: tuple[Path, ...],
    follow: bool,
    topic: TopicChoice,
    host: str,
    from_start: bool,
    again: bool,
    olddir: tuple[Path, ...],
    journal: bool,
    journal_from: Path | None,
    match: tuple[str, ...],
    zone: str | None,
    metrics: str | None,
    state: Path | None,
    batch_lines: int,
    linger_ms: int,
    broker: str | None,
    as_json: bool,
) -> None:
    """Sends log FILES to Kafka, whole lines, each once, and remembers how far it came.

    Plain files, or packed ones (gz, xz, bz2, zst); with --follow plain ones only, and they need not exist yet. What was
    sent is not sent again, also after a crash: give --again for that. SIGTERM and Ctrl-C stop it in good order.
    Named pipes and standard input ("-") can be read only once: what a killed shipper held of them is gone. A host
    without log files ships its journal with --journal, whose cursor is kept.

    Files that were rotated, also while this was stopped, are finished. They are known by their first bytes, in the
    file's folder, the folders in it and in --olddir, whatever their names and whether they are packed. One that came
    and went unseen is found by its name, in the file's folder and in --olddir: mail.log.1, mail.log-20261124,
    mail-20261124.log, mail.log.old and the like, also packed.

    \b
      sekimori ship /var/log/mail.log --follow
      sekimori ship --journal --follow
      sekimori ship old/mail.log.2.gz --topic maillog --host mx1
    """
    with clear_errors(ValueError):
        settings = settings_in_force()
        bootstrap = cluster_of(settings, broker or "")
        servers(bootstrap)
        told_zone = _zone(zone)
        _check_access(bootstrap)
    journal = journal or journal_from is not None
    _check(files, follow, journal)
    set_up_logs(settings.log_json)
    # The client library tells of every try to connect; what matters of that we say ourselves.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    options = Options(host, topic, batch_lines, linger_ms, follow)
    recorder = PrometheusRecorder(SHIP)
    with clear_errors(ValueError), ExitStack() as stack:
        stopping = stack.enter_context(_stopping())
        bar = stack.enter_context(progress(*_COLUMNS, shown=not follow and not as_json, transient=False))
        task = bar.add_task("shipping", total=None)
        world = World(
            outbox=lambda: KafkaOutbox(bootstrap, timeout=SEND_SECONDS),
            log=KafkaLog(bootstrap),
            wait=stopping.wait,
            monotonic=time.monotonic,
            now_ms=lambda: time.time_ns() // 1_000_000,
            recorder=recorder,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            zone=told_zone,
        )
        folder = (state or settings.state_dir) / "ship"
        streams: list[tuple[Stream, Keeper]] = []
        for path in files:
            if _is_pipe(path):
                pipe = PipeTail(path, follow)
                stack.callback(pipe.close)
                streams.append((pipe, Unkept()))
                continue
            positions, known = _positions(stack, folder, path, again)
            places, seen = (known.files, known.seen) if known else (None, None)
            tail = Tail(path, places, not from_start, seen, olddir, files)
            stack.callback(tail.close)
            streams.append((tail, positions))
        if journal:
            positions, known = _positions(stack, folder, journal_from or JOURNAL, again)
            place = known.files[0] if known else None
            entries = JournalTail(journal_command(journal_from, match), place, follow, not from_start)
            stack.callback(entries.close)
            streams.append((entries, positions))
        shipper = Shipper(streams, options, world)
        stack.enter_context(served_metrics(metrics, recorder, shipper.health))
        shipper.run()
    _report(shipper, files, as_json)


def _zone(option: str | None) -> Callable[[int], str]:
    """What is told of the zone of stamps without one. Raises click.BadParameter.

    Of a host that ``--host`` names nothing is known here.
    """
    settings, origins = with_origins()
    name = option if option is not None else "" if origins["zone"] == "default" else settings.zone
    if option is not None and zone_of(name) is None:
        raise click.BadParameter(f"{name!r} is no IANA zone such as Asia/Tokyo", param_hint="'--zone'")
    return (lambda at_ms: name) if name or is_given("host") else host_zone(os.environ)


def _check_access(cluster: Cluster) -> None:
    """Raises AccessRefused. A broker that is away may come: it is waited for."""
    try:
        check_access(cluster, "ship")
    except AccessRefused:
        raise
    except BrokerUnavailable:
        return


def _positions(stack: ExitStack, folder: Path, path: Path, again: bool) -> tuple[Positions, Remembered | None]:
    """What is kept of a path, ours until the end."""
    positions = stack.enter_context(Positions(folder, path))
    if again:
        positions.forget()
    return positions, positions.load()


def _is_pipe(path: Path) -> bool:
    return str(path) in STANDARD_INPUT or path.is_fifo()


def _check(files: tuple[Path, ...], follow: bool, journal: bool) -> None:
    """What cannot be shipped is said. With ``follow`` one that cannot be read now waits, if there are others."""
    if not files and not journal:
        raise click.UsageError("name a file, - for standard input, or --journal")
    if len(set(files)) < len(files):
        raise click.UsageError("a file is given twice")
    problems = [problem for path in files if (problem := _problem(path, follow))]
    if problems and (not follow or len(problems) == len(files)):
        raise click.UsageError(problems[0])


def _problem(path: Path, follow: bool) -> str:
    if _is_pipe(path):
        return ""
    if not path.exists():
        return "" if follow else f"there is no file {path}; with --follow it may come later"
    if not path.is_file():
        return f"{path} is no regular file"
    if not os.access(path, os.R_OK):
        return f"{path} cannot be read; is this user in the group adm?"
    if follow:
        with path.open("rb") as file:
            if packing_of(file.read(MAGIC)):
                raise click.UsageError(f"{path} is packed and will not grow; ship it without --follow")
    return ""


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set."""
    event = threading.Event()
    before = {n: signal.signal(n, lambda *_: event.set()) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(shipper: Shipper, files: tuple[Path, ...], as_json: bool) -> None:
    counts = shipper.counts
    if as_json:
        result = {"files": [str(f) for f in files], "lines": counts.lines, "messages": counts.frames}
        print_json(result | {"bytes": counts.bytes, "shortened": counts.cut})
        return
    text = f"{counts.lines:,} lines in {counts.frames:,} messages"
    if counts.cut:
        text += f"; {counts.cut:,} were too long and were shortened"
    if not counts.lines:
        text += "; what was shipped before is not sent again (--again does)"
    click.echo(text, err=True)
