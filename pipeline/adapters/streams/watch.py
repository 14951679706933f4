"""What may change while a job runs: the rules file, the GeoIP file, the allowlist of operators, and what they lift."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import structlog

from pipeline.adapters.geoip import GeoFile, GeoFileError
from pipeline.adapters.kafka.tables import TableReader, applied
from pipeline.detect.granted import Granted
from pipeline.detect.release import Released, release_of
from pipeline.metrics import Recorder
from pipeline.ports import FollowedLog, Record
from pipeline.rules import RuleSet, build
from pipeline.rules.config import RulesError, load
from schemas.codec import decode_setting, decode_text
from schemas.enforcement import HELD, OVER
from schemas.topics import SETTINGS

_log = structlog.get_logger()


class RulesWatch:
    """Reads the rules file again when it changed; keeps the old rules, and says why, when the new ones are wrong."""

    def __init__(self, path: Path | None, home: str, recorder: Recorder) -> None:
        """Raises RulesError if the file is wrong at the start."""
        self._path, self._home, self._recorder = path, home, recorder
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
        return build(load(self._path), self._home, str(self._path or "default.toml"))

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


class AllowlistWatch:
    """Follows ``settings``, see ``adapters/kafka/tables``. ``granted`` is another object after each change, so that
    whoever looks things up in it never sees a change half done. ``reading`` opens the topic."""

    def __init__(self, reading: Callable[[], FollowedLog], recorder: Recorder) -> None:
        self.granted = Granted()
        self._recorder = recorder
        self._reader = TableReader(reading, self, "settings")

    def start(self) -> None:
        """Begins to follow."""
        self._reader.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._reader.stop()

    def empty(self) -> Granted:
        """See ``Table``."""
        return Granted()

    def fill(self, staged: Granted, records: Sequence[Record]) -> None:
        """See ``Table``."""
        for record in records:
            self._apply(staged, record)

    def replace(self, staged: Granted, written: frozenset[str]) -> None:
        """See ``Table``."""
        if SETTINGS.name in written:
            self.granted = staged
        _log.info("allowlist_read", entries=len(self.granted), written=sorted(written))

    def change(self, records: Sequence[Record]) -> None:
        """See ``Table``."""
        changed = self.granted.copy()
        for record in records:
            self._apply(changed, record)
        self.granted = changed

    def lost(self) -> None:
        """See ``Table``."""

    def _apply(self, granted: Granted, record: Record) -> None:
        def apply() -> bool:
            setting = None if record.value is None else decode_setting(record.value)
            return granted.apply(decode_text(record.key, "the key"), setting)

        self._recorder.add("sekimori_detect_settings_total", 1, applied(record, apply))


class ReleaseWatch:
    """Follows ``enforcement`` for what operators lift. ``releases``: the last one of each decision that a rule made,
    another object after each change. ``reading`` opens the topic."""

    def __init__(self, reading: Callable[[], FollowedLog]) -> None:
        self.releases: tuple[Released, ...] = ()
        self._known: dict[bytes, Released] = {}
        self._reader = TableReader(reading, self, "releases")

    def start(self) -> None:
        """Begins to follow."""
        self._reader.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._reader.stop()

    def empty(self) -> dict[bytes, Released]:
        """See ``Table``."""
        return {}

    def fill(self, staged: dict[bytes, Released], records: Sequence[Record]) -> None:
        """See ``Table``."""
        for record in records:
            _note_release(staged, record)

    def replace(self, staged: dict[bytes, Released], written: frozenset[str]) -> None:
        """See ``Table``. What the topic has forgotten is past."""
        self._known, self.releases = staged, tuple(staged.values())
        _log.info("releases_read", releases=len(staged), written=sorted(written))

    def change(self, records: Sequence[Record]) -> None:
        """See ``Table``."""
        for record in records:
            if _note_release(self._known, record):
                self.releases = tuple(self._known.values())
                told = {name: value.decode("utf-8", "backslashreplace") for name, value in record.headers}
                by = {name: told.get(name, "") for name in ("actor", "note", "at")}
                _log.info("decision_released", key=(record.key or b"").decode("utf-8", "backslashreplace"), **by)

    def lost(self) -> None:
        """See ``Table``."""


def _note_release(known: dict[bytes, Released], record: Record) -> bool:
    """Is the record a release? Then it is known from now on. The time is when it was written."""
    headers = dict(record.headers)
    if record.value is not None or record.key is None or OVER in headers:
        return False
    held = (_time(headers.get(name)) for name in HELD)
    release = release_of(record.key.decode("utf-8", "backslashreplace"), record.timestamp_ms / 1000, *held)
    if release is not None:
        known[record.key] = release
    return release is not None


def _time(told: bytes | None) -> float | None:
    """RFC 3339 -> seconds since 1970; None if it is none."""
    try:
        return datetime.fromisoformat((told or b"").decode()).timestamp()
    except (ValueError, OverflowError):
        return None
