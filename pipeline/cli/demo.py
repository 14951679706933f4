"""``sekimori demo``: the whole of it on this machine, in a minute."""

import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from types import FrameType
from zoneinfo import ZoneInfo

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.adapters.demo.cluster import DemoCluster, DemoError, demo_cluster
from pipeline.adapters.files.logfile import frames, named_frames
from pipeline.adapters.kafka.client import TopicReader
from pipeline.cli.common import (
    FILE,
    clear_errors,
    country_lookup,
    geoip_option,
    home_option,
    rules_in_force,
    zone_option,
)
from pipeline.cli.configured import is_given, settings_in_force
from pipeline.cli.terminal import printable, safe
from pipeline.detect.brake import WouldHold, brake_notes
from pipeline.formats.reading.lines import LineReader, split_frame
from pipeline.replay import Replay
from pipeline.settings import Settings
from schemas.codec import decode_decision, decode_events
from schemas.enforcement import Decision
from schemas.event import Event

QUIET_SECONDS = 3.0  # without news, everything that was shipped has been worked on
SHOWN = 18  # decisions in the live table


@dataclass
class Story:
    """What came out so far."""

    events: int = 0
    decisions: dict[str, Decision] = field(default_factory=dict)
    senders: Counter[str] = field(default_factory=Counter)
    addresses: dict[str, str] = field(default_factory=dict)
    last: datetime | None = None

    def add_event(self, event: Event) -> None:
        """Notes who sends, and from where."""
        self.events += 1
        self.last = event.time if self.last is None else max(self.last, event.time)
        if event.kind == "submission" and event.account and event.client_ip:
            self.senders[event.account] += 1
            self.addresses.setdefault(event.account, event.client_ip)

    def stolen(self) -> Decision | None:
        """An account that was stopped from sending; one that was used from all over the world if there is one."""
        stops = [d for d in self.decisions.values() if d.subject_kind == "account" and d.action == "reject"]
        return min(stops, key=lambda d: (d.rule != "account_many_origins", d.issued_at), default=None)

    def honest(self) -> str | None:
        """The busiest account against which there is nothing."""
        restricted = {d.subject for d in self.decisions.values()}
        return next((a for a, _ in self.senders.most_common() if a not in restricted), None)


@click.command()
@click.argument("logs", nargs=-1, type=FILE)
@geoip_option()
@home_option()
@zone_option("IANA zone of lines without one.")
def demo(logs: tuple[Path, ...], geoip: Path | None, home: str, zone: ZoneInfo) -> None:
    """Shows Sekimori at work: broker, streaming jobs and policy agent on this machine, fed with a real log.

    LOGS are your own log files instead of the recorded ones; your rules, zones and countries hold for them. The
    recorded ones were written by a real Postfix and Dovecot under attack: a stolen account, brute force, spraying,
    mass sending by webmail, and honest users between them. Nothing leaves this machine, and nothing is left running.
    """
    console = Console()
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        with clear_errors(DemoError), tempfile.TemporaryDirectory(prefix="sekimori-demo-") as name:
            _run(console, Path(name), logs, _settings(logs, geoip, home, zone.key))
    except KeyboardInterrupt:
        console.print("\nstopped; nothing is left running")


def _settings(logs: tuple[Path, ...], geoip: Path | None, home: str, zone: str) -> dict[str, str]:
    """Of the jobs. The recording has its own: what is set for this host's logs does not fit it."""
    if not logs:
        given = {"home": home, "zone": zone}
        return {name: value for name, value in given.items() if is_given(name)}
    settings = settings_in_force()
    more = {"geoip": str(geoip or ""), "rules": str(settings.rules or ""), "zones": settings.zones}
    return {"home": home, "zone": zone} | more


def _interrupted(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(console: Console, folder: Path, logs: tuple[Path, ...], settings: dict[str, str]) -> None:
    recorded = resources.files("pipeline.adapters.demo") / "recorded"
    with resources.as_file(recorded) as files:
        paths = list(logs) or [files / "mail.log.gz", files / "dovecot.log.gz"]
        offset = _last_time(paths) - time.time()
        places = {} if logs else {"geoip": str(files / "geo.mmdb")}
        settings |= places
        cluster = DemoCluster(folder, settings, offset)
        with demo_cluster(cluster, lambda part: console.print(f"starting {part}", style="dim")):
            console.print("shipping " + ", ".join(path.name for path in paths), style="dim")
            cluster.run("ship", "ship", *map(str, paths), "--host", "mx")
            story = _watch(console, cluster)
            for line in brake_notes(_would_hold(paths, settings)):
                console.print(line, soft_wrap=True, markup=False, highlight=False)
            _ask(console, cluster, story)
            if console.is_terminal and sys.stdin.isatty():
                host, port = cluster.policy
                console.print(
                    f"\nThe policy agent goes on at {host}:{port}, its files are in {folder}. Ctrl-C ends it."
                )
                threading.Event().wait()


def _would_hold(paths: list[Path], settings: dict[str, str]) -> WouldHold:
    """What the brake of an installation would hold on these logs, found by a replay; the jobs run without it."""
    of_jobs = Settings.from_env({f"SEKIMORI_{name.upper()}": value for name, value in settings.items()})
    rules, lookup = rules_in_force(of_jobs.rules, of_jobs.home), country_lookup(of_jobs.geoip)
    partitions = settings_in_force().partitions
    flow = Replay(rules, ZoneInfo(of_jobs.zone), lookup, of_jobs.named_zones(), partitions)
    for _ in flow.run(named_frames(paths, time.time())):
        pass
    return flow.would_hold


def _last_time(paths: list[Path]) -> float:
    """When the logs end, seconds since 1970."""
    reader, last = LineReader(), 0.0
    for path in paths:
        tail: list[str] = []
        reference = time.time()
        for frame in frames(path):
            tail = split_frame(frame.content)[-20:] or tail
        times = [e.time.timestamp() for e in reader.read_lines(tail, reference) if isinstance(e, Event)]
        last = max([last, *times])
    return last or time.time()


def _watch(console: Console, cluster: DemoCluster) -> Story:
    """Follows events and decisions until nothing more comes."""
    story = Story()
    with TopicReader(cluster.broker.bootstrap, ["events", "enforcement"]) as reader, _display(console, story) as show:
        news = time.monotonic()
        while not cluster.ended("ship") or story.events == 0 or time.monotonic() - news < QUIET_SECONDS:
            for record in reader.poll(0.2):
                news = time.monotonic()
                if record.topic == "events":
                    for event in decode_events(record.value or b""):
                        story.add_event(event)
                elif record.value is not None:
                    decision = decode_decision(record.value)
                    story.decisions[decision.key] = decision
                    show.decision(decision)
            show.update()
    return story


class _Display:
    """A live table on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, story: Story, live: Live | None) -> None:
        self._console, self._story, self._live = console, story, live

    def decision(self, decision: Decision) -> None:
        """One more decision."""
        if self._live is None:
            self._console.print(_line(decision), soft_wrap=True)

    def update(self) -> None:
        """Draws anew."""
        if self._live is not None:
            self._live.update(_screen(self._story))


@contextmanager
def _display(console: Console, story: Story) -> Iterator[_Display]:
    if not console.is_terminal:
        yield _Display(console, story, None)
        return
    with Live(_screen(story), console=console, refresh_per_second=8) as live:
        yield _Display(console, story, live)


def _line(d: Decision) -> Text:
    return Text(f"{d.issued_at:%H:%M:%S} {d.action:<12} {d.scope:<5} {printable(_why(d))}")


def _why(d: Decision) -> str:
    return d.reason if d.mode == "enforce" else f"{d.reason} ({d.mode})"


def _screen(story: Story) -> Group:
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    for name, width in (("time (UTC)", 10), ("action", 12), ("why", None)):
        table.add_column(name, min_width=width, no_wrap=True, overflow="ellipsis")
    decisions = sorted(story.decisions.values(), key=lambda d: (d.subject_kind != "account", d.issued_at))
    for d in decisions[:SHOWN]:
        style = "red" if d.action == "reject" else "magenta" if d.action == "deny_login" else "yellow"
        table.add_row(f"{d.issued_at:%H:%M:%S}", Text(d.action, style=style), safe(_why(d)))
    more = len(decisions) - SHOWN
    head = Text(f"{story.events:,} events, {len(decisions)} decisions", style="bold")
    return Group(head, table, Text(f"and {more} more" if more > 0 else "", style="dim"))


def _ask(console: Console, cluster: DemoCluster, story: Story) -> None:
    """Asks the policy agent what Postfix would ask."""
    console.print(f"\n{story.events:,} events, {len(story.decisions)} decisions. Now as Postfix asks the policy agent:")
    stolen, honest = story.stolen(), story.honest()
    if stolen is not None:
        cluster.wait(lambda: not _ask_once(cluster, story, stolen.subject).startswith("DUNNO"), "the refusal")
    for account, what in ((honest, "nothing against it"), (stolen.subject if stolen else None, "stopped from sending")):
        if account is None:
            console.print(f"  (no account of this kind in the log: {what})", style="dim")
            continue
        answer = _ask_once(cluster, story, account)
        style = "green" if answer.startswith("DUNNO") else "red"
        told = Text(f"  {printable(account)} ({what})\n    -> ").append(printable(answer), style=style)
        console.print(told, soft_wrap=True)
    console.print("DUNNO lets the mail pass.", style="dim")


def _ask_once(cluster: DemoCluster, story: Story, account: str) -> str:
    return cluster.ask(account, story.addresses.get(account, "192.0.2.1"))
