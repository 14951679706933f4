"""``sekimori ship``: log files to the topics ``maillog`` and ``authlog``."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pipeline.adapters.access.rights import check_access
from pipeline.adapters.files.frames import TopicChoice
from pipeline.adapters.files.positions import Positions
from pipeline.adapters.files.shipper import Options, Shipper, World
from pipeline.adapters.kafka.client import KafkaLog
from pipeline.adapters.kafka.cluster import Cluster
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.logs import set_up_logs
from pipeline.cli.common import clear_errors, json_option
from pipeline.cli.configured import settings_in_force
from pipeline.cli.terminal import print_json, progress
from pipeline.ports import AccessRefused, BrokerUnavailable

# After this the broker counts as down, positions are read back, and sending begins again.
SEND_SECONDS = 10.0
_COLUMNS = (
    *(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()),
    TimeRemainingColumn(),
)


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
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
    state: Path | None,
    batch_lines: int,
    linger_ms: int,
    broker: str | None,
    as_json: bool,
) -> None:
    """Sends log FILES to Kafka, whole lines, each once, and remembers how far it came.

    Plain or gz files; with --follow plain ones only, and they need not exist yet. What was sent is not sent again,
    also after a crash: give --again for that. SIGTERM and Ctrl-C stop it in good order.

    \b
      sekimori ship /var/log/mail.log --follow
      sekimori ship old/mail.log.2.gz --topic maillog --host mx1
    """
    with clear_errors(ValueError):
        settings = settings_in_force()
        cluster = Cluster.of(settings, broker)
        _check_access(cluster)
    _check(files, follow)
    set_up_logs(settings.log_json)
    # The client library tells of every try to connect; what matters of that we say ourselves.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    options = Options(host, topic, batch_lines, linger_ms, follow, from_end=not from_start)
    with clear_errors(), ExitStack() as stack:
        stopping = stack.enter_context(_stopping())
        bar = stack.enter_context(progress(*_COLUMNS, shown=not follow and not as_json, transient=False))
        task = bar.add_task("shipping", total=None)
        world = World(
            outbox=lambda: KafkaOutbox(cluster, timeout=SEND_SECONDS),
            log=KafkaLog(cluster),
            wait=stopping.wait,
            monotonic=time.monotonic,
            now_ms=lambda: time.time_ns() // 1_000_000,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
        folder = (state or settings.state_dir) / "ship"
        positions = [stack.enter_context(Positions(folder, path)) for path in files]
        if again:
            for known in positions:
                known.forget()
        shipper = Shipper(files, positions, options, world)
        stack.callback(shipper.close)
        shipper.run()
    _report(shipper, files, as_json)


def _check_access(cluster: Cluster) -> None:
    """Raises AccessRefused. A broker that is away may come: it is waited for."""
    try:
        check_access(cluster, "ship")
    except AccessRefused:
        raise
    except BrokerUnavailable:
        return


def _check(files: tuple[Path, ...], follow: bool) -> None:
    if len(set(files)) < len(files):
        raise click.UsageError("a file is given twice")
    for path in files:
        if not path.exists():
            if not follow:
                raise click.UsageError(f"there is no file {path}; with --follow it may come later")
        elif not path.is_file():
            raise click.UsageError(f"{path} is no regular file")
        elif not os.access(path, os.R_OK):
            raise click.UsageError(f"{path} cannot be read; is this user in the group adm?")
        elif follow and path.open("rb").read(2) == b"\x1f\x8b":
            raise click.UsageError(f"{path} is packed and will not grow; ship it without --follow")


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
