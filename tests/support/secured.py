"""Servers as a provider has them.

Apache Kafka with TLS, SASL, certificates of clients, and nothing allowed but by an ACL; ClickHouse with TLS and a user.
"""

import subprocess
from pathlib import Path

from pipeline.adapters.demo.broker import free_port
from pipeline.adapters.kafka.security.access import Cluster, cluster_of
from pipeline.settings import Settings
from tests.support.certificates import Authority
from tests.support.servers import ApacheKafka, ClickHouseServer

ADMIN = "admin"
WAYS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "mTLS")
MTLS = "mTLS"


def password_of(user: str) -> str:
    return f"secret-of-{user}"


class SecuredKafka(ApacheKafka):
    """One node with StandardAuthorizer. ``users`` may log in by PLAIN, SCRAM and a certificate (``CN=user``); only
    ``admin`` may do all. ``bootstrap``: of the SASL listener, ``tls``: of the one that asks for a certificate."""

    def __init__(self, folder: Path, *users: str) -> None:
        self.users = (ADMIN, *users)
        self.authority = Authority(folder / "certificates")
        self.tls = f"127.0.0.1:{free_port()}"
        certificate, key = self.authority.issue("broker")
        self._own = folder / "certificates" / "both.pem"
        self._own.write_bytes(key.read_bytes() + certificate.read_bytes())
        for user in self.users:
            self.authority.issue(user)
            path = self._password_file(user)
            path.touch(mode=0o600)
            path.write_text(f"{password_of(user)}\n")
        super().__init__(folder)

    def cluster(self, user: str = ADMIN, way: str = "SCRAM-SHA-512", **more: str) -> Cluster:
        """How ``user`` gets in; ``more``: other settings."""
        return cluster_of(Settings.from_env(self.environment(user, way, **more)))

    def environment(self, user: str, way: str = "SCRAM-SHA-512", **more: str) -> dict[str, str]:
        """As ``settings``, as variables."""
        given = self.settings(user, way) | more
        return {f"SEKIMORI_{name.upper()}": value for name, value in given.items()}

    def settings(self, user: str, way: str = "SCRAM-SHA-512") -> dict[str, str]:
        """How ``user`` gets in, by the names of the settings."""
        folder = self.authority.folder
        if way == MTLS:
            files = {"kafka_certificate": str(folder / f"{user}.pem"), "kafka_key": str(folder / f"{user}.key")}
            return {"brokers": self.tls, "kafka_protocol": "SSL", "kafka_ca": str(self.authority.ca), **files}
        return {
            "brokers": self.bootstrap,
            "kafka_protocol": "SASL_SSL",
            "kafka_ca": str(self.authority.ca),
            "kafka_mechanism": way,
            "kafka_user": user,
            "kafka_password_file": str(self._password_file(user)),
        }

    def tool(self, main: str, *arguments: str) -> str:
        """A tool of Apache Kafka, as the administrator; what it says."""
        config = self.folder / "admin.properties"
        config.write_text(f"""
security.protocol=SASL_SSL
sasl.mechanism=PLAIN
sasl.jaas.config={_PLAIN} username="{ADMIN}" password="{password_of(ADMIN)}";
ssl.truststore.type=PEM
ssl.truststore.location={self.authority.ca}
""")
        command = [*self._jvm(), main, *arguments, "--command-config", str(config)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def _password_file(self, user: str) -> Path:
        return self.authority.folder / f"{user}.password"

    def _java(self, main: str, *arguments: str) -> None:
        """Formats the storage, with users in it."""
        kinds = [(user, kind) for user in self.users for kind in ("256", "512")]
        scram = [f"SCRAM-SHA-{kind}=[name={user},password={password_of(user)}]" for user, kind in kinds]
        super()._java(main, *arguments[:-1], *(word for one in scram for word in ("--add-scram", one)), arguments[-1])

    def _properties(self) -> str:
        plain = " ".join(f'user_{user}="{password_of(user)}"' for user in self.users)
        listeners = f"SASL://{self.bootstrap},TLS://{self.tls}"
        lines = []
        for line in super()._properties().splitlines():
            if line.startswith("listeners="):
                lines.append(f"listeners={listeners},CONTROLLER://{line.rpartition('CONTROLLER://')[2]}")
            elif line.startswith("advertised.listeners="):
                lines.append(f"advertised.listeners={listeners}")
            else:
                lines.append(line)
        name = "listener.name.sasl"
        return (
            "\n".join(lines)
            + f"""
listener.security.protocol.map=SASL:SASL_SSL,TLS:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
{name}.plain.sasl.jaas.config={_PLAIN} username="{ADMIN}" password="{password_of(ADMIN)}" {plain};
{name}.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
{name}.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={self._own}
ssl.truststore.type=PEM
ssl.truststore.location={self.authority.ca}
listener.name.tls.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{ADMIN};User:ANONYMOUS
allow.everyone.if.no.acl.found=false
"""
        )


_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


class SecuredClickHouse(ClickHouseServer):
    """Lets only the user ``mail`` in, and only by TLS; ``password_file`` and ``ca`` are what a client needs.
    ``address``: of a port without TLS, for this helper alone."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "certificates")
        self.ca = self.authority.ca
        self._files = self.authority.issue("clickhouse")
        self.password_file = self.authority.folder / "password"
        self.password_file.write_text(f"{password_of('mail')}\n")
        self.secure_port = free_port()
        self.secure_address = f"clickhouses://mail@127.0.0.1:{self.secure_port}/default"
        super().__init__(folder)

    def _config(self) -> str:
        certificate, key = self._files
        tls = f"<certificateFile>{certificate}</certificateFile><privateKeyFile>{key}</privateKeyFile>"
        tls += "<verificationMode>none</verificationMode><cacheSessions>true</cacheSessions>"
        user = f"<password>{password_of('mail')}</password><networks><ip>127.0.0.1</ip></networks>"
        user += "<profile>default</profile><quota>default</quota>"
        config = super()._config().replace("</users>", f"<mail>{user}</mail></users>")
        more = f"<tcp_port_secure>{self.secure_port}</tcp_port_secure><openSSL><server>{tls}</server></openSSL>"
        return config.replace("</yandex>", f"{more}\n</yandex>")
