"""How clients get into a cluster: TLS and SASL, read once from the settings, for both client libraries.

The password is read from its file when a client is made, so that it can be changed while a job waits for the broker.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from faust import SASLCredentials, SSLCredentials

from pipeline.settings import Settings, SettingsError


@dataclass(frozen=True)
class Access:
    """See the settings ``kafka_*``."""

    protocol: str = "PLAINTEXT"
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
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
        """The first line of its file. Raises SettingsError."""
        assert self.password_file is not None
        try:
            return self.password_file.read_text("utf-8").split("\n")[0]
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"SEKIMORI_KAFKA_PASSWORD_FILE: {error}") from None

    def context(self) -> ssl.SSLContext | None:
        """For TLS, with the client's certificate if there is one. Raises SettingsError."""
        if not self.encrypted:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            names = ", ".join(str(path) for path in (self.ca, self.certificate, self.key) if path)
            raise SettingsError(f"SEKIMORI_KAFKA_CA, _CERTIFICATE, _KEY ({names}): {error}") from None
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
        if self.signed_on:
            return SASLCredentials(
                username=self.user, password=self.password(), ssl_context=self.context(), mechanism=self.mechanism
            )
        return SSLCredentials(self.context()) if self.encrypted else None


OPEN: Final = Access()


class Cluster(str):
    """The bootstrap servers of a cluster, ``host:port[,host:port]``, and how to get in."""

    __slots__ = ("access",)

    def __new__(cls, brokers: str, access: Access = OPEN) -> "Cluster":
        """As a text it is ``brokers``."""
        made = super().__new__(cls, brokers)
        made.access = access
        return made

    access: Access


def access_of(bootstrap: str) -> Access:
    """That of a cluster; plain bootstrap servers are open."""
    return bootstrap.access if isinstance(bootstrap, Cluster) else OPEN


def cluster_of(settings: Settings, brokers: str = "") -> Cluster:
    """The settings' cluster; ``brokers`` in place of theirs, if given."""
    access = Access(
        settings.kafka_protocol,
        settings.kafka_ca,
        settings.kafka_certificate,
        settings.kafka_key,
        settings.kafka_mechanism,
        settings.kafka_user,
        settings.kafka_password_file,
    )
    return Cluster(brokers or settings.brokers, access)
