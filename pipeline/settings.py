"""Settings of the processes: read and checked once, from the environment (``SEKIMORI_*``) and one settings file.

What operators tune (thresholds, windows, actions, allowlists) is not here but in the rules file, see
``pipeline.rules.config``.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

FILE: Final = "SEKIMORI_SETTINGS"
"""The variable that names the settings file."""
PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
SECRETS: Final = frozenset({"dovecot_api_key", "clickhouse"})
"""What may hold a password, and is not shown as it is."""

Origin = Literal["default", "file", "environment"]


class SettingsError(ValueError):
    """A setting is unknown or impossible. The message names the variable and says what to do."""


@dataclass(frozen=True)
class Settings:
    """Where things are. One environment variable each: ``SEKIMORI_`` and the field's name in capitals; in the settings
    file, which is TOML, the field's name. The environment goes before the file.

    * ``brokers``: Kafka bootstrap servers, ``host:port[,host:port]``.
    * ``kafka_protocol``: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, as the broker's listener has it.
    * ``kafka_ca``: certificates (PEM) that the broker's must come from; the system's if not given.
    * ``kafka_certificate``, ``kafka_key``: our own for mutual TLS, PEM; ``kafka_key_password_file`` if the key has one.
    * ``kafka_mechanism``: of SASL: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. ``kafka_user``, ``kafka_password_file``: who.
      A password is the first line of its file.
    * ``prefix``: before the name of each topic and group, for several installations on one cluster: ``mail-a.``
    * ``replication``: replicas of the topics that ``sekimori prepare`` makes, and ``min_insync``: how many of them must
      have a message before it counts as written; 0: as the broker has it.
    * ``partitions``: of ``tallies``, fixed once it exists; what ``prepare`` gives new topics (1 to 512).
    * ``zone``: IANA zone of log lines that carry none. ``zones``: the same of single hosts or topics,
      ``mx3=America/New_York,authlog=UTC``; a host goes before its topic.
    * ``home``: ISO 3166 code of the provider's country.
    * ``geoip``: a MaxMind DB file with countries. ``rules``: a rules file; the shipped one if not given.
    * ``agent_socket``: where the enforcement agent tells operators of its host what is in force, and where
      ``sekimori decisions list`` asks it; ``agent.socket`` in ``state_dir`` if not given.
    * ``state_dir``: where the enforcement agent and the shipper keep their state.
    * ``log_json``: structured logs as JSON lines.
    * ``checkpoint_seconds``: how often streaming jobs save their state (0.2 to 600 s).
    * ``dovecot_api_key``: what Dovecot must send as ``X-API-Key``, or as the password of Basic authentication;
      empty for none.
    * ``clickhouse``: the analytical store, ``host:port`` or ``clickhouse://user@host/base``, with TLS
      ``clickhouses://``; empty: none. ``clickhouse_password_file``: the user's. ``clickhouse_ca``: as ``kafka_ca``.
    * ``store_days``: days that it keeps, in whole months; 0 keeps everything.
    * ``analysis``: a folder made by ``sekimori load``, for notebooks; they prefer it to ``clickhouse``.
    * ``signing_key``: what this process decides is signed with, see ``sekimori keys``; ``trusted_keys``: whose
      decisions and settings it obeys, TOML; without it, whatever the topics say.
    * ``session_timeout``: seconds until the broker takes the partitions of a dead worker away.
    """

    brokers: str = "127.0.0.1:9092"
    kafka_protocol: str = "PLAINTEXT"
    kafka_ca: Path | None = None
    kafka_certificate: Path | None = None
    kafka_key: Path | None = None
    kafka_key_password_file: Path | None = None
    kafka_mechanism: str = "PLAIN"
    kafka_user: str = ""
    kafka_password_file: Path | None = None
    prefix: str = ""
    replication: int = 0
    min_insync: int = 0
    partitions: int = 4
    zone: str = "UTC"
    zones: str = ""
    home: str = "JP"
    geoip: Path | None = None
    rules: Path | None = None
    state_dir: Path = Path("/var/lib/sekimori")
    agent_socket: Path | None = None
    log_json: bool = False
    checkpoint_seconds: float = 10.0
    session_timeout: float = 10.0
    dovecot_api_key: str = ""
    clickhouse: str = ""
    clickhouse_password_file: Path | None = None
    clickhouse_ca: Path | None = None
    store_days: int = 400
    analysis: Path | None = None
    signing_key: Path | None = None
    trusted_keys: Path | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Reads ``SEKIMORI_*``, and the file that ``SEKIMORI_SETTINGS`` names. Raises SettingsError for an unknown name
        or an impossible value."""
        return cls.with_origins(env)[0]

    @classmethod
    def with_origins(cls, env: Mapping[str, str]) -> "tuple[Settings, dict[str, Origin]]":
        """As ``from_env``; also where each comes from, by the field's name."""
        path = Path(env[FILE]) if env.get(FILE) else None
        in_file = {} if path is None else _from_file(path)
        in_env = _from_env(env)
        settings = cls(**{**in_file, **in_env})
        try:
            settings.check()
        except SettingsError as error:
            name = str(error).partition(":")[0].removeprefix("SEKIMORI_").lower()
            raise (SettingsError(f"{path}: {error}") if name in in_file and name not in in_env else error) from None
        origins: dict[str, Origin] = dict.fromkeys((field.name for field in fields(cls)), "default")
        return settings, origins | dict.fromkeys(in_file, "file") | dict.fromkeys(in_env, "environment")

    @property
    def agent_asked_at(self) -> Path:
        """``agent_socket``, given or not."""
        return self.agent_socket or self.state_dir / "agent.socket"

    def check(self) -> None:
        """Raises SettingsError for an impossible value."""
        if not 1 <= self.partitions <= 512:
            raise SettingsError(f"SEKIMORI_PARTITIONS: {self.partitions} is outside 1 to 512")
        if not 0.2 <= self.checkpoint_seconds <= 600:
            raise SettingsError(f"SEKIMORI_CHECKPOINT_SECONDS: {self.checkpoint_seconds} is outside 0.2 to 600")
        if not 0 <= self.store_days <= 36_500:
            raise SettingsError(f"SEKIMORI_STORE_DAYS: {self.store_days} is outside 0 to 36500")
        if not (len(self.home) == 2 and self.home.isascii() and self.home.isupper()):
            raise SettingsError(f"SEKIMORI_HOME: {self.home!r} is no ISO 3166 code such as JP")
        _zone("SEKIMORI_ZONE", self.zone)
        self.named_zones()
        self._check_kafka()
        for field in fields(self):
            path = getattr(self, field.name)
            if (
                isinstance(path, Path)
                and field.name not in ("state_dir", "analysis", "agent_socket")
                and not path.is_file()
            ):
                raise SettingsError(f"SEKIMORI_{field.name.upper()}: there is no file {path}")

    def _check_kafka(self) -> None:
        if self.kafka_protocol not in PROTOCOLS:
            raise SettingsError(f"SEKIMORI_KAFKA_PROTOCOL: {self.kafka_protocol!r} is none of {', '.join(PROTOCOLS)}")
        if self.kafka_mechanism not in MECHANISMS:
            raise SettingsError(
                f"SEKIMORI_KAFKA_MECHANISM: {self.kafka_mechanism!r} is none of {', '.join(MECHANISMS)}"
            )
        tls, sasl = self.kafka_protocol.endswith("SSL"), self.kafka_protocol.startswith("SASL")
        for name in ("kafka_user", "kafka_password_file"):
            if bool(getattr(self, name)) != sasl:
                told = "is needed with" if sasl else "has no effect without"
                raise SettingsError(
                    f"SEKIMORI_{name.upper()}: {told} SEKIMORI_KAFKA_PROTOCOL=SASL_SSL (or SASL_PLAINTEXT)"
                )
        for name in ("kafka_ca", "kafka_certificate", "kafka_key", "kafka_key_password_file"):
            if getattr(self, name) and not tls:
                raise SettingsError(
                    f"SEKIMORI_{name.upper()}: has no effect without SEKIMORI_KAFKA_PROTOCOL=SSL or SASL_SSL"
                )
        if (self.kafka_key is None) != (self.kafka_certificate is None):
            raise SettingsError("SEKIMORI_KAFKA_KEY: goes with SEKIMORI_KAFKA_CERTIFICATE; give both, or none")
        if self.kafka_key_password_file and not self.kafka_key:
            raise SettingsError("SEKIMORI_KAFKA_KEY_PASSWORD_FILE: SEKIMORI_KAFKA_KEY is missing")
        if not re.fullmatch(r"[a-zA-Z0-9._-]{0,100}", self.prefix):
            raise SettingsError(
                f"SEKIMORI_PREFIX: {self.prefix!r}: up to 100 letters, digits, '.', '_' and '-', such as mail-a."
            )
        for name in ("replication", "min_insync"):
            if not 0 <= getattr(self, name) <= 100:
                raise SettingsError(f"SEKIMORI_{name.upper()}: {getattr(self, name)} is outside 0 to 100")
        if self.replication and self.min_insync > self.replication:
            raise SettingsError(
                f"SEKIMORI_MIN_INSYNC: {self.min_insync} is more than SEKIMORI_REPLICATION={self.replication}: "
                "nothing could be written"
            )

    def named_zones(self) -> dict[str, ZoneInfo]:
        """``zones`` by host or topic. Raises SettingsError."""
        zones: dict[str, ZoneInfo] = {}
        for entry in self.zones.split(",") if self.zones else ():
            name, found, zone = (part.strip() for part in entry.partition("="))
            if not name or not found or name in zones:
                raise SettingsError(f"SEKIMORI_ZONES: {entry!r} is not host=zone such as mx3=Asia/Tokyo, once for each")
            zones[name] = _zone("SEKIMORI_ZONES", zone)
        return zones


def _zone(setting: str, name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError(f"{setting}: {name!r} is no IANA zone such as Asia/Tokyo") from None


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    known = {f"SEKIMORI_{field.name.upper()}": field for field in fields(Settings)}
    given = {}
    for name, value in env.items():
        if not name.startswith("SEKIMORI_") or name == FILE:
            continue
        if name not in known:
            raise SettingsError(f"{name}: no such setting; there are {', '.join(sorted(known))}, and {FILE}")
        if value != "":
            given[known[name].name] = _convert(name, value, known[name].type)
    return given


def _from_file(path: Path) -> dict[str, Any]:
    """Paths in it are relative to its folder."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"{FILE}: {path} cannot be read: {why}") from None
    known = {field.name: field.type for field in fields(Settings)}
    unknown = sorted(set(told) - set(known))
    if unknown:
        raise SettingsError(f"{path}: {', '.join(unknown)}: no such setting; there are {', '.join(sorted(known))}")
    return {name: _typed(path, name, value, known[name]) for name, value in told.items() if value != ""}


def _typed(path: Path, name: str, value: object, kind: object) -> object:
    """A value of the file as the field has it: texts may stand for all, and ``zones`` may be a table."""
    if name == "zones" and isinstance(value, dict):
        return ",".join(f"{host}={zone}" for host, zone in value.items())
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    if not isinstance(value, str):
        raise SettingsError(f"{path}: {name}: {value!r} is no {getattr(kind, '__name__', 'path')}")
    found = _convert(f"{path}: {name}", value, kind)
    return path.parent / found if isinstance(found, Path) else found


def _convert(name: str, value: str, kind: object) -> object:
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[value.lower()]
        if kind is int:
            return int(value)
        if kind is float:
            return float(value)
    except (KeyError, ValueError):
        raise SettingsError(f"{name}: {value!r} is no {getattr(kind, '__name__', kind)}") from None
    return value if kind is str else Path(value)
