"""A provider's own cluster: where it is, how to get in, and which of its topics and groups are ours.

How a client of either library gets in is said here alone.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from pipeline.adapters.access.secrets import read_secret
from pipeline.adapters.kafka.errors import ACCESS
from pipeline.settings import Settings, SettingsError

# Both brokers lie at hand in tests; in production a broker that needs longer than this is as good as down.
BOOTSTRAP_MS: Final = 5_000


@dataclass(frozen=True)
class Cluster:
    """``bootstrap``: ``host:port[,host:port]``; the other fields are those of ``Settings``.

    The code knows topics by the names of ``schemas.topics``; ``topic`` gives the name on the cluster, ``name`` takes it
    back. Passwords are read when a client is made, and held nowhere.
    """

    bootstrap: str
    prefix: str = ""
    security: str = "PLAINTEXT"
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password_file: Path | None = None
    mechanism: str = ""
    user: str = ""
    password_file: Path | None = None

    @classmethod
    def of(cls, settings: Settings, brokers: str | None = None) -> "Cluster":
        """The cluster of the settings; ``brokers``: at another address. Raises ValueError if it is no host:port."""
        cluster = cls(
            brokers or settings.brokers,
            settings.prefix,
            settings.kafka_security,
            settings.kafka_ca,
            settings.kafka_certificate,
            settings.kafka_key,
            settings.kafka_key_password_file,
            settings.kafka_mechanism,
            settings.kafka_user,
            settings.kafka_password_file,
        )
        cluster.servers()
        return cluster

    def __str__(self) -> str:
        return self.bootstrap

    def servers(self) -> list[str]:
        """``bootstrap`` as a list. Raises ValueError for anything else than host:port."""
        found = [server.strip() for server in self.bootstrap.split(",") if server.strip()]
        for server in found:
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"{server!r} is no host:port of a Kafka broker, such as 127.0.0.1:9092")
        if not found:
            raise ValueError("no Kafka broker given; give host:port, such as 127.0.0.1:9092")
        return found

    def topic(self, name: str) -> str:
        """What a topic, or a consumer group, of ours is called on the cluster."""
        return self.prefix + name

    def name(self, topic: str) -> str:
        """What ``topic`` made of it."""
        return topic.removeprefix(self.prefix)

    def kafka_python(self) -> dict[str, Any]:
        """What every client of kafka-python is given. Raises SettingsError for files that are of no use."""
        given: dict[str, Any] = {"bootstrap_servers": self.servers(), "security_protocol": self.security}
        if self.security.endswith("SSL"):
            given["ssl_context"] = self._tls()
        if self.security.startswith("SASL"):
            given |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self._password(),
            }
        return given

    def faust(self) -> dict[str, Any]:
        """What Faust, and so aiokafka, is given. Raises SettingsError for files that are of no use."""
        import faust  # noqa: PLC0415  # only streaming jobs need it, and it is slow to import

        given: dict[str, Any] = {"broker": ";".join(f"kafka://{address}" for address in self.servers())}
        tls = self._tls() if self.security.endswith("SSL") else None
        if self.security.startswith("SASL"):
            given["broker_credentials"] = faust.SASLCredentials(
                username=self.user, password=self._password(), ssl_context=tls, mechanism=self.mechanism
            )
        elif tls is not None:
            given["broker_credentials"] = faust.SSLCredentials(tls)
        return given

    def _password(self) -> str:
        assert self.password_file is not None, "settings are checked"
        return read_secret(self.password_file, "SEKIMORI_KAFKA_PASSWORD_FILE")

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"SEKIMORI_KAFKA_CA: {self.ca} holds no certificates in PEM ({error})") from None
        if self.certificate is not None:
            secret = self.key_password_file
            password = read_secret(secret, "SEKIMORI_KAFKA_KEY_PASSWORD_FILE") if secret else ""
            try:
                # An empty password fails where one is needed; without any, the library would ask at the terminal.
                context.load_cert_chain(self.certificate, self.key, password)
            except (OSError, ssl.SSLError) as error:
                raise SettingsError(
                    f"SEKIMORI_KAFKA_CERTIFICATE: {self.certificate} and its key {self.key or self.certificate} cannot "
                    f"be used ({error}); both must be PEM, and SEKIMORI_KAFKA_KEY_PASSWORD_FILE be right"
                ) from None
        return context


def cluster_of(place: Cluster | str) -> Cluster:
    """A bare ``host:port[,host:port]`` is a cluster that lets everybody in, and whose topics have no prefix."""
    return place if isinstance(place, Cluster) else Cluster(place)


class _Manager(KafkaConnectionManager):  # type: ignore[misc]  # the library has no types
    """Keeps what the last connection failed of: the library itself tells only that time is up."""

    failure: Exception | None = None

    async def _connect(self, node: Any, conn: Any, *args: Any, **options: Any) -> None:
        await super()._connect(node, conn, *args, **options)
        if conn.init_future.failed() and not isinstance(self.failure, ACCESS):
            self.failure = conn.init_future.exception

    async def _build_transport(self, *args: Any, **options: Any) -> Any:
        """Hands on what a broker says right before it closes, such as why: the library drops it."""
        transport = await super()._build_transport(*args, **options)
        receive = transport._sock_recv

        def received() -> tuple[bytes, Exception | None]:
            data, error = receive()
            return data, None if data else error

        transport._sock_recv = received
        return transport


def connected(maker: Callable[..., Any], cluster: Cluster, **settings: Any) -> Any:
    """A client of the library. One that finds no broker would leave its thread behind, trying on for ever."""
    begun: list[tuple[Any, _Manager]] = []

    def network(**config: Any) -> Any:
        net = NetworkSelector(**config)
        manager = _Manager(net, **config)
        begun.append((KafkaNetClient(net, manager, **config), manager))
        return begun[0][0]

    config = {"bootstrap_timeout_ms": BOOTSTRAP_MS} | settings
    try:
        return maker(kafka_client=network, **cluster.kafka_python(), **config)
    except kafka_errors.KafkaError as error:
        why: Exception = error
        for client, manager in begun:
            client.close()
            why = manager.failure or why
        raise (why if isinstance(why, kafka_errors.KafkaError) else error) from error
