"""What may change while a job runs: the rules file, the GeoIP file, the allowlist of operators, and what they lift;
and what senders do that they had better not."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.adapters.kafka.security.gate import Gate
from pipeline.adapters.kafka.security.keys import NO_KEYS, Keys
from pipeline.adapters.kafka.tables import Table, TableReader, applied
from pipeline.detect.granted import Granted
from pipeline.detect.release import Released, release_of
from pipeline.detect.standing import Hidden, time_of, told_by, told_of
from pipeline.formats.reading.around.missed import MissedLines, shown
from pipeline.metrics import Recorder
from pipeline.ports import FollowedLog, Record
from pipeline.rules import RuleSet, build
from pipeline.rules.config import Brake, RulesError, load
from schemas.codec import decode_setting, decode_text
from schemas.enforcement import HELD, OVER
from schemas.topics import ENFORCEMENT, SETTINGS, Topic

AGAIN: Final = 600.0  # seconds between two warnings of one thing
MISSED_AGAIN: Final = 3600.0  # seconds between two warnings of lines of one host and form
_log = structlog.get_logger()


class RulesWatch:
    """Reads the rules file again when it changed; keeps the old rules, and says why, when the new ones are wrong.

    ``brake``: whether the file's ``[brake]`` holds, or none at all.
    """

    def __init__(self, path: Path | None, home: str, recorder: Recorder, *, brake: bool = True) -> None:
        """Raises RulesError if the file is wrong at the start."""
        self._path, self._home, self._recorder, self._brake = path, home, recorder, brake
        self._stamp = self._read_stamp()
        self.rules = self._build()

    def poll(self) -> RuleSet | None:
        """The new rules if there are any."""
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            self.rules = self._build()
        except RulesError as error:
            self._recorder.add("sekimori_rules_loads_total", 1, "refused")
            _log.error("rules_refused", error=str(error), kept="the rules in force")
            return None
        self._recorder.add("sekimori_rules_loads_total", 1, "loaded")
        _log.info("rules_loaded", file=str(self._path))
        return self.rules

    def _build(self) -> RuleSet:
        file = load(self._path)
        if not self._brake:
            file = msgspec.structs.replace(file, brake=Brake(hourly=0))
        return build(file, self._home, str(self._path or "default.toml"))

    def _read_stamp(self) -> tuple[int, int]:
        if self._path is None:
            return 0, 0
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_ino


class GeoWatch:
    """Follows the GeoIP file; keeps the old one, and says why, when the new one is damaged: half copied, perhaps."""

    def __init__(self, geo: GeoFile, recorder: Recorder) -> None:
        self._geo, self._recorder, self._told = geo, recorder, ""

    def poll(self) -> None:
        """To be called now and then."""
        told = ""
        try:
            self._geo.reload_if_changed()
        except GeoFileError as error:
            told = str(error)
            if told != self._told:
                self._recorder.add("sekimori_normalize_geoip_refused_total")
                _log.error("geoip_refused", error=told, kept="the file that was read before")
        self._told = told


SENDERS: Final = (
    (
        "sekimori_normalize_unkeyed_total",
        "messages_without_key",
        "lines",
        "each goes on to its host's partition, at twice the cost: let the sender give the host as the key, see "
        "docs/shippers.md",
    ),
    (
        "sekimori_normalize_doubled_lines_total",
        "lines_twice",
        "lines",
        "they were counted once: the same lines come from two files, or two senders, of a host; ship one of them, see "
        "docs/shippers.md",
    ),
    (
        "sekimori_normalize_unknown_zones_total",
        "unknown_zone",
        "messages",
        "their header zone is left out: it must be an IANA name that this host knows, or an offset such as +09:00",
    ),
)
"""What senders can mend: the metric that counts it, the event that tells it, what is counted, and what to do."""


class SenderWatch:
    """Says each of ``SENDERS``, at most once in ``AGAIN``. ``counted``: what a counter has come to, by its name."""

    def __init__(self, counted: Callable[[str], float], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._counted, self._monotonic = counted, monotonic
        self._told = {metric: (0.0, float("-inf")) for metric, *_ in SENDERS}  # what was told, and when

    def poll(self) -> None:
        """To be called now and then."""
        now = self._monotonic()
        for metric, event, unit, what_to_do in SENDERS:
            count, (told, at) = self._counted(metric), self._told[metric]
            if count > told and now >= at + AGAIN:
                _log.warning(event, **{unit: int(count - told)}, next=what_to_do)
                self._told[metric] = count, now


class MissedWatch:
    """Says which lines look like mail log and were not understood: of each host and form, at most once in
    ``MISSED_AGAIN``, and the first such line."""

    def __init__(self, missed: MissedLines, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._missed, self._monotonic = missed, monotonic
        self._told: dict[tuple[str, str], tuple[int, float]] = {}  # how many were told, and when

    def poll(self) -> None:
        """To be called now and then."""
        now = self._monotonic()
        for host, form, count, first in self._missed.all():
            told, at = self._told.get((host, form), (0, float("-inf")))
            if count > told and now >= at + MISSED_AGAIN:
                _log.warning(
                    "mail_log_not_understood",
                    host=shown(host), form=form, lines=count - told, first=shown(first),
                    next="nothing in these lines counts: see docs/log-forms.md",
                )  # fmt: skip
                self._told[host, form] = count, now


class _TableWatch:
    """What ``detect`` follows of what operators write: ``topic``, which ``reading`` opens, see
    ``adapters/kafka/tables``."""

    def __init__(self, table: Table[Any], topic: Topic, reading: Callable[[], FollowedLog], recorder: Recorder) -> None:
        self._topic, self._recorder = topic.name, recorder
        self._reader = TableReader(reading, table, topic.name)
        self._begun = time.monotonic()

    def start(self) -> None:
        """Begins to follow."""
        self._reader.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._reader.stop()

    def poll(self) -> None:
        """To be called now and then: tells how old what is known is."""
        heard = self._begun if self._reader.heard_at is None else self._reader.heard_at
        self._recorder.set("sekimori_detect_table_age_seconds", time.monotonic() - heard, self._topic)

    def lost(self) -> None:
        """See ``Table``."""


class AllowlistWatch(_TableWatch):
    """Follows ``settings``, as far as ``keys`` allow. ``granted`` is another object after each change, so that whoever
    looks things up in it never sees a change half done."""

    def __init__(self, reading: Callable[[], FollowedLog], recorder: Recorder, keys: Keys = NO_KEYS) -> None:
        super().__init__(self, SETTINGS, reading, recorder)
        self._gate = Gate(keys, recorder)
        self.granted, self._hidden = Granted(), Hidden()

    def empty(self) -> Granted:
        """See ``Table``."""
        self._hidden.clear()
        return Granted()

    def fill(self, staged: Granted, records: Sequence[Record]) -> None:
        """See ``Table``."""
        for record in records:
            passes = self._apply(staged, record)
            with suppress(ValueError):  # told where it is applied
                key = decode_text(record.key, "the key")
                if not self._gate.is_open and (known := self.granted.find(key)) is not None:
                    self._hidden.note(record, key, told_by(known.issued_at, known.expires_at), passes, time.time())

    def replace(self, staged: Granted, written: frozenset[str]) -> None:
        """See ``Table``. What was lifted by one who may not stays."""
        for _, key in self._hidden:
            if (known := self.granted.find(key)) is not None:
                staged.apply(key, known)
        if SETTINGS.name in written:
            self.granted = staged
        _log.info("allowlist_read", entries=len(self.granted), written=sorted(written))

    def change(self, records: Sequence[Record]) -> None:
        """See ``Table``."""
        changed = self.granted.copy()
        for record in records:
            self._apply(changed, record)
        self.granted = changed

    def _apply(self, granted: Granted, record: Record) -> bool:
        """Is it signed by one who may?"""

        def apply() -> bool:
            setting = None if record.value is None else decode_setting(record.value)
            told = told_of(record) if setting is None and not self._gate.is_open else None
            return granted.apply(decode_text(record.key, "the key"), setting, told)

        passes = self._gate.passes(record)
        outcome = applied(record, apply) if passes else "refused"
        self._recorder.add("sekimori_detect_settings_total", 1, outcome)
        return passes


class ReleaseWatch(_TableWatch):
    """Follows ``enforcement`` for what operators lift, as far as ``keys`` allow. ``releases``: the last one of each
    decision that a rule made, another object after each change."""

    def __init__(self, reading: Callable[[], FollowedLog], recorder: Recorder, keys: Keys = NO_KEYS) -> None:
        super().__init__(self, ENFORCEMENT, reading, recorder)
        self._keys = keys
        self.releases: tuple[Released, ...] = ()
        self._known: dict[bytes, Released] = {}

    def empty(self) -> dict[bytes, Released]:
        """See ``Table``."""
        return {}

    def fill(self, staged: dict[bytes, Released], records: Sequence[Record]) -> None:
        """See ``Table``."""
        for record in records:
            self._note(staged, record)

    def replace(self, staged: dict[bytes, Released], written: frozenset[str]) -> None:
        """See ``Table``. What the topic has forgotten is past."""
        self._known, self.releases = staged, tuple(staged.values())
        _log.info("releases_read", releases=len(staged), written=sorted(written))

    def change(self, records: Sequence[Record]) -> None:
        """See ``Table``."""
        for record in records:
            if self._note(self._known, record):
                self.releases = tuple(self._known.values())
                told = {name: value.decode("utf-8", "backslashreplace") for name, value in record.headers}
                by = {name: told.get(name, "") for name in ("actor", "note", "at")}
                _log.info("decision_released", key=(record.key or b"").decode("utf-8", "backslashreplace"), **by)

    def _note(self, known: dict[bytes, Released], record: Record) -> bool:
        """Is the record a release? Then it is known from now on. The time is when it was written; with keys, as it was
        signed, so that nobody lifts what came later by writing it again. Who sweeps tells of what is not obeyed."""
        headers = dict(record.headers)
        if record.value is not None or record.key is None or OVER in headers or self._keys.refusal(record):
            return False
        at = record.timestamp_ms / 1000
        if self._keys.verifier is not None:
            at = min(at, (time_of(headers.get("at")) or 0.0) + 1.0)  # it tells whole seconds
        held = (time_of(headers.get(name)) for name in HELD)
        release = release_of(record.key.decode("utf-8", "backslashreplace"), at, *held)
        if release is not None:
            known[record.key] = release
        return release is not None
