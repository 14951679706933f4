"""What ``backtest`` and ``suggest`` have in common: where the data come from, and how long it still takes."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from pipeline.adapters.workers import WorkerLost
from pipeline.cli.common import (
    FILE,
    clear_errors,
    country_lookup,
    geoip_option,
    home_option,
    note_no_geoip,
    zone_option,
    zones_of_hosts,
)
from pipeline.cli.configured import is_given, settings_in_force
from pipeline.rules.config import RulesFile
from pipeline.trials.cases import Case, CasesError, parse_cases
from pipeline.trials.plan import Logs, Plan, StoredEvents

PIPED = 130  # columns where there is no terminal
WANTED = "give log FILES, or --stored with a folder made by `sekimori load` or a ClickHouse server's address"


@dataclass(frozen=True)
class Trial:
    """What ``trial_options`` were given."""

    files: tuple[Path, ...]
    stored: str
    start: datetime | None
    stop: datetime | None
    cases_path: Path | None
    geoip: Path | None
    home: str
    zone: ZoneInfo
    jobs: int

    def plan(self, rules: tuple[RulesFile, ...]) -> Plan:
        """Raises GeoFileError, OSError for a file that is of no use."""
        country_lookup(self.geoip)
        settings = settings_in_force()
        origin: Logs | StoredEvents = Logs(self.files, self.zone, self.geoip, zones_of_hosts())
        if not self.files:
            origin = StoredEvents(self.stored, settings.clickhouse_password_file, settings.clickhouse_ca)
        between = self._seconds(self.start, -1), self._seconds(self.stop, 1)
        return Plan(origin, rules, self.home, *between, settings.partitions)

    def cases(self) -> list[Case]:
        """Known cases; none without a file. Raises CasesError, OSError."""
        if self.cases_path is None:
            return []
        try:
            return parse_cases(self.cases_path.read_text(encoding="utf-8-sig"), str(self.cases_path), self.zone)
        except UnicodeDecodeError as error:
            raise CasesError(f"{self.cases_path}: cannot be read: {error}") from None

    def note(self) -> None:
        """Says what the figures lack, on standard error."""
        if self.files:
            note_no_geoip(self.geoip)

    def _seconds(self, given: datetime | None, end: int) -> float:
        return end * float("inf") if given is None else given.replace(tzinfo=self.zone).timestamp()


_OPTIONS = (
    click.argument("files", nargs=-1, type=FILE),
    click.option(
        "--stored",
        metavar="FOLDER|ADDRESS",
        help="Stored events in place of FILES: a folder made by `sekimori load`, or a ClickHouse server, as "
        "SEKIMORI_ANALYSIS and SEKIMORI_CLICKHOUSE name them, which are taken where neither is given.",
    ),
    click.option(
        "--from",
        "start",
        type=click.DateTime(),
        metavar="TIME",
        help="Report what happened from this time on: 2026-11-01 or 2026-11-01T09:30:00, in --zone.",
    ),
    click.option(
        "--to", "stop", type=click.DateTime(), metavar="TIME", help="Leave out what happened at this time or later."
    ),
    click.option("--cases", "cases_path", type=FILE, help="Known cases: .toml, .csv or .jsonl, see docs/tuning.md."),
    geoip_option("MaxMind DB file, for FILES: stored events have their countries."),
    home_option(),
    zone_option("IANA zone of days, and of lines without."),
    click.option("--jobs", type=click.IntRange(1, 256), help="Processes. [default: one for each core]"),
)


def trial_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options; the command gets them as ``trial``."""

    @wraps(command)
    def with_trial(*, files: tuple[Path, ...], stored: str | None, jobs: int | None, **options: Any) -> None:
        given = {name: options.pop(name) for name in ("start", "stop", "cases_path", "geoip", "home", "zone")}
        if files and stored:
            raise click.UsageError("FILES and --stored: give one of the two")
        if given["geoip"] and not files and is_given("geoip"):
            raise click.UsageError("--geoip: stored events have the countries of the time when they were stored")
        place = "" if files else stored or _place()
        command(trial=Trial(files, place, **given, jobs=jobs or os.cpu_count() or 1), **options)

    adorned: Callable[..., None] = with_trial
    for option in reversed(_OPTIONS):
        adorned = option(adorned)
    return adorned


def _place() -> str:
    """Where the environment says that events are stored."""
    settings = settings_in_force()
    place = str(settings.analysis or settings.clickhouse)
    if not place:
        raise click.UsageError(WANTED)
    return place


@contextmanager
def trial_errors() -> Iterator[None]:
    """Whatever may go wrong, told in a sentence; SIGTERM ends as Ctrl-C does: workers are stopped, and their folder is
    removed."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with clear_errors(CasesError, WorkerLost):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
