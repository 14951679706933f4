"""Settings of the processes: read and checked once, from the environment (``SEKIMORI_*``).

What operators tune (thresholds, windows, actions, allowlists) is not here but in the rules file, see
``pipeline.rules.config``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class SettingsError(ValueError):
    """A setting is unknown or impossible. The message names the variable and says what to do."""


@dataclass(frozen=True)
class Settings:
    """Where things are. One environment variable each: ``SEKIMORI_`` and the field's name in capitals.

    * ``brokers``: Kafka bootstrap servers, ``host:port[,host:port]``.
    * ``kafka_protocol``: ``PLAINTEXT``, ``SSL``, ``SASL_PLAINTEXT`` or ``SASL_SSL``. ``kafka_ca``: certificates that
      the brokers' are held against (PEM; those of the system if not given). ``kafka_certificate``, ``kafka_key``: of
      this client, where brokers ask for one. ``kafka_mechanism``: ``PLAIN``, ``SCRAM-SHA-256`` or ``SCRAM-SHA-512``,
      with ``kafka_user``, and the password in the first line of ``kafka_password_file``.
    * ``partitions``: of ``tallies``, fixed once it exists; what ``prepare`` gives new topics (1 to 512).
    * ``zone``: IANA zone of log lines that carry none. ``zones``: the same of single hosts or topics,
      ``mx3=America/New_York,authlog=UTC``; a host goes before its topic.
    * ``home``: ISO 3166 code of the provider's country.
    * ``geoip``: a MaxMind DB file with countries. ``rules``: a rules file; the shipped one if not given.
    * ``state_dir``: where the enforcement agent and the shipper keep their state.
    * ``log_json``: structured logs as JSON lines.
    * ``checkpoint_seconds``: how often streaming jobs save their state (0.2 to 600 s).
    * ``dovecot_api_key``: what Dovecot must send as ``X-API-Key``, or as the password of Basic authentication;
      empty for none.
    * ``clickhouse``: the analytical store, ``host:port`` or ``clickhouse://user:password@host/base``; empty: none.
    * ``store_days``: days that it keeps, in whole months; 0 keeps everything.
    * ``analysis``: a folder made by ``sekimori load``, for notebooks; they prefer it to ``clickhouse``.
    * ``session_timeout``: seconds until the broker takes the partitions of a dead worker away.
    """

    brokers: str = "127.0.0.1:9092"
    kafka_protocol: str = "PLAINTEXT"
    kafka_ca: Path | None = None
    kafka_certificate: Path | None = None
    kafka_key: Path | None = None
    kafka_mechanism: str = "PLAIN"
    kafka_user: str = ""
    kafka_password_file: Path | None = None
    partitions: int = 4
    zone: str = "UTC"
    zones: str = ""
    home: str = "JP"
    geoip: Path | None = None
    rules: Path | None = None
    state_dir: Path = Path("/var/lib/sekimori")
    log_json: bool = False
    checkpoint_seconds: float = 10.0
    session_timeout: float = 10.0
    dovecot_api_key: str = ""
    clickhouse: str = ""
    store_days: int = 400
    analysis: Path | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Reads ``SEKIMORI_*``. Raises SettingsError for an unknown name or an impossible value."""
        known = {f"SEKIMORI_{f.name.upper()}": f for f in fields(cls)}
        given: dict[str, object] = {}
        for name, value in env.items():
            if not name.startswith("SEKIMORI_"):
                continue
            if name not in known:
                raise SettingsError(f"{name}: no such setting; there are {', '.join(sorted(known))}")
            field = known[name]
            if value != "":
                given[field.name] = _convert(name, value, field.type)
        settings = cls(**given)  # type: ignore[arg-type]  # converted by the field's type just above
        settings.check()
        return settings

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
        files = ("geoip", "rules", "kafka_ca", "kafka_certificate", "kafka_key", "kafka_password_file")
        for name, path in ((name.upper(), getattr(self, name)) for name in files):
            if path is not None and not path.is_file():
                raise SettingsError(f"SEKIMORI_{name}: there is no file {path}")

    def _check_kafka(self) -> None:
        if self.kafka_protocol not in PROTOCOLS:
            raise SettingsError(f"SEKIMORI_KAFKA_PROTOCOL: {self.kafka_protocol!r} is none of {', '.join(PROTOCOLS)}")
        if self.kafka_mechanism not in MECHANISMS:
            raise SettingsError(
                f"SEKIMORI_KAFKA_MECHANISM: {self.kafka_mechanism!r} is none of {', '.join(MECHANISMS)}"
            )
        signed_on = self.kafka_protocol.startswith("SASL")
        if signed_on and not (self.kafka_user and self.kafka_password_file):
            raise SettingsError("SEKIMORI_KAFKA_USER and SEKIMORI_KAFKA_PASSWORD_FILE: SASL needs both")
        if not signed_on and (self.kafka_user or self.kafka_password_file):
            raise SettingsError("SEKIMORI_KAFKA_USER: of no use without SEKIMORI_KAFKA_PROTOCOL=SASL_SSL")
        if not self.kafka_protocol.endswith("SSL") and (self.kafka_ca or self.kafka_certificate):
            raise SettingsError("SEKIMORI_KAFKA_CA, _CERTIFICATE: without SEKIMORI_KAFKA_PROTOCOL=SASL_SSL or SSL")
        if (self.kafka_key is None) != (self.kafka_certificate is None):
            raise SettingsError("SEKIMORI_KAFKA_CERTIFICATE and SEKIMORI_KAFKA_KEY: give both, or none")

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
