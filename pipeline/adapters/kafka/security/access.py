"""How clients get into a cluster, and which of its topics and groups are ours: read once from the settings, for both
client libraries.

Passwords are read from their files when a client is made, so that they can be changed while a job waits for the broker.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.adapters.kafka.security.keys import NO_KEYS, Keys, keys_of
from pipeline.adapters.secrets import read_secret
from pipeline.settings import Settings, SettingsError
from schemas.topics import ENFORCEMENT


@dataclass(frozen=True)
class Access:
    """See the settings ``kafka_*``."""

    protocol: str = "PLAINTEXT"
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password_file: Path | None = None
    mechanism: str = "PLAIN"
    user: str = ""
    password_file: Path | None = None

    @property
    def encrypted(self) -> bool:
        """Is TLS used?"""
        return self.protocol in {"SSL", "SASL_SSL"}

    @property
    def signed_on(self) -> bool:
        """Is SASL used?"""
        return self.protocol.startswith("SASL")

    def password(self) -> str:
        """Raises SettingsError."""
        assert self.password_file is not None
        return read_secret(self.password_file, "SEKIMORI_KAFKA_PASSWORD_FILE")

    def context(self) -> ssl.SSLContext | None:
        """For TLS, with the client's certificate if there is one. Raises SettingsError."""
        if not self.encrypted:
            return None
        secret = self.key_password_file
        password = read_secret(secret, "SEKIMORI_KAFKA_KEY_PASSWORD_FILE") if secret else ""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                # An empty password fails where one is needed; without any, the library would ask at the terminal.
                context.load_cert_chain(self.certificate, self.key, password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            names = ", ".join(str(path) for path in (self.ca, self.certificate, self.key) if path)
            raise SettingsError(
                f"SEKIMORI_KAFKA_CA, _CERTIFICATE, _KEY ({names}): {error}; all must be PEM, and "
                "SEKIMORI_KAFKA_KEY_PASSWORD_FILE hold the key's password if it has one"
            ) from None
        return context

    def of_kafka_python(self) -> dict[str, Any]:
        """Arguments of its clients. Raises SettingsError."""
        given: dict[str, Any] = {"security_protocol": self.protocol}
        if self.encrypted:
            given["ssl_context"] = self.context()
        if self.signed_on:
            given |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password(),
            }
        return given

    def of_faust(self) -> Any:
        """Its ``broker_credentials``; None where the cluster is open. Raises SettingsError."""
        from faust import SASLCredentials, SSLCredentials  # noqa: PLC0415  # slow to import, and only streaming jobs need it

        if self.signed_on:
            return SASLCredentials(
                username=self.user, password=self.password(), ssl_context=self.context(), mechanism=self.mechanism
            )
        return SSLCredentials(self.context()) if self.encrypted else None


OPEN: Final = Access()


class Cluster(str):
    """The bootstrap servers of a cluster, ``host:port[,host:port]``, how to get in, the prefix of what is ours, and the
    keys of those whose word counts.

    The code knows topics and groups by the names of ``schemas.topics``: ``topic`` gives the name on the cluster,
    ``name`` takes it back.
    """

    __slots__ = ("access", "keys", "prefix")

    def __new__(cls, brokers: str, access: Access = OPEN, prefix: str = "", keys: Keys = NO_KEYS) -> "Cluster":
        """As a text it is ``brokers``."""
        made = super().__new__(cls, brokers)
        made.access, made.prefix, made.keys = access, prefix, keys
        return made

    access: Access
    prefix: str
    keys: Keys

    def topic(self, name: str) -> str:
        """What a topic, or a consumer group, is called on the cluster."""
        return self.prefix + name

    def name(self, topic: str) -> str:
        """What ``topic`` made of it."""
        return topic.removeprefix(self.prefix)


def servers(bootstrap: str) -> list[str]:
    """``host:port[,host:port]`` as a list. Raises ValueError for anything else."""
    found = [server.strip() for server in bootstrap.split(",") if server.strip()]
    for server in found:
        host, _, port = server.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{server!r} is no host:port of a Kafka broker, such as 127.0.0.1:9092")
    if not found:
        raise ValueError("no Kafka broker given; give host:port, such as 127.0.0.1:9092")
    return found


def cluster_at(bootstrap: str) -> Cluster:
    """Plain bootstrap servers are a cluster that is open, and has no prefix."""
    return bootstrap if isinstance(bootstrap, Cluster) else Cluster(bootstrap)


def table_at(cluster: Cluster) -> str:
    """Which decisions those of a cluster are, in words: those of another one, or of another prefix, are others."""
    return f"{cluster.topic(ENFORCEMENT.name)} at {cluster}"


def cluster_of(settings: Settings, brokers: str = "") -> Cluster:
    """The settings' cluster; ``brokers`` in place of theirs, if given. Raises SettingsError for files of keys that are
    none."""
    access = Access(
        settings.kafka_protocol,
        settings.kafka_ca,
        settings.kafka_certificate,
        settings.kafka_key,
        settings.kafka_key_password_file,
        settings.kafka_mechanism,
        settings.kafka_user,
        settings.kafka_password_file,
    )
    return Cluster(brokers or settings.brokers, access, settings.prefix, keys_of(settings))
