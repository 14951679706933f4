"""Files and settings that may change while a job runs: rules, the GeoIP file, the allowlist of operators."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from pipeline.adapters.kafka.client import TopicReader
from pipeline.metrics import Recorder
from pipeline.networks import parse_subject
from pipeline.ports import BrokerUnavailable, TopicMissing
from pipeline.rules import RuleSet, build
from pipeline.rules.config import RulesError, load
from schemas.codec import decode_setting
from schemas.topics import SETTINGS

FOR_EVER = float("inf")
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


class AllowWatch:
    """Follows ``settings`` in a thread of its own. ``granted``: (kind, subject) -> end in seconds since 1970; a new
    dict at each change, so that readers never see one half changed."""

    def __init__(self, brokers: str, changed: Callable[[], None] = lambda: None) -> None:
        self._brokers = brokers
        self._changed = changed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="settings", daemon=True)
        self.granted: Mapping[tuple[str, str], float] = {}

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                with TopicReader(self._brokers, [SETTINGS.name]) as reader:
                    while not self._stop.is_set():
                        for record in reader.poll(1.0):
                            self._apply(record.key or b"", record.value)
            except (BrokerUnavailable, TopicMissing) as error:
                _log.warning("settings_unavailable", error=str(error))
                self._stop.wait(5.0)

    def _apply(self, key: bytes, value: bytes | None) -> None:
        granted = dict(self.granted)
        if value is None:
            _, kind, subject = [*key.decode("utf-8", "replace").split(":", 2), "", ""][:3]
            granted.pop((kind, subject), None)
        else:
            try:
                setting = decode_setting(value)
                named = parse_subject(setting.subject, setting.subject_kind)
            except ValueError as error:
                _log.error("setting_unreadable", key=key.decode("utf-8", "replace"), error=str(error))
                return
            until = setting.expires_at.timestamp() if setting.expires_at else FOR_EVER
            granted[named] = until
        self.granted = granted
        self._changed()
