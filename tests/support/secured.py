"""Apache Kafka as a provider runs it: TLS, SASL, certificates of clients, and nothing allowed that was not granted."""

import datetime
import ipaddress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from pipeline.adapters.kafka.client import admin
from pipeline.adapters.kafka.security.acls import grants_of
from tests.support.servers import ApacheKafka, free_port

PASSWORD: Final = "correct-horse-battery"


class Authority:
    """Makes certificates; ``ca`` is its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self._certificate(self._name, self._key, True).public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key, as PEM files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._certificate(subject, key, False).public_bytes(serialization.Encoding.PEM)
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        paths = self._folder / f"{name}.pem", self._folder / f"{name}-key.pem"
        paths[0].write_bytes(certificate)
        paths[1].write_bytes(key.private_bytes(*form))
        return paths

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        local = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca, None), True)
            .add_extension(x509.SubjectAlternativeName(local), False)
            .sign(self._key, hashes.SHA256())
        )


class SecuredKafka(ApacheKafka):
    """Its own port is open to everybody and may do everything: for preparing. ``sasl``: users ``plain`` and ``scram``
    sign on. ``mutual``: clients show certificates, and are ``User:CN=<name>``."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.authority = Authority(folder)
        certificate, key = self.authority.issue("broker")
        (folder / "keystore.pem").write_bytes(key.read_bytes() + certificate.read_bytes())
        (folder / "password").write_text(f"{PASSWORD}\n")
        self.sasl, self.mutual = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        super().__init__(folder, port)

    def _properties(self) -> str:
        base = super()._properties()
        listeners = next(line for line in base.splitlines() if line.startswith("listeners="))
        advertised = next(line for line in base.splitlines() if line.startswith("advertised.listeners="))
        more = f"SASL_SSL://{self.sasl},SSL://{self.mutual}"
        login = "org.apache.kafka.common.security"
        return (
            base.replace(advertised, f"{advertised},{more}").replace(listeners, f"{listeners},{more}", 1)
            + f"""
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_plain="{PASSWORD}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={self.folder}/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location={self.authority.ca}
listener.name.ssl.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
        )

    def _java(self, main: str, *arguments: str) -> None:
        scram = [f"SCRAM-SHA-{bits}=[name=scram,password={PASSWORD}]" for bits in (256, 512)]
        first, *rest = arguments
        super()._java(main, first, *(word for user in scram for word in ("--add-scram", user)), *rest)

    def grant(self, job: str, principal: str) -> None:
        """What a job needs, and nothing else."""
        acls = [
            ACL(principal, "*", ACLOperation[_upper(op)], ACLPermissionType.ALLOW, _pattern(grant.resource, grant.name))
            for grant in grants_of(job)
            for op in grant.operations
        ]
        with admin(self.bootstrap) as client:
            client.create_acls(acls)

    def settings(self, how: str, name: str = "") -> dict[str, str]:
        """Of a job that signs on so: ``PLAIN``, ``SCRAM-SHA-256``, ``SCRAM-SHA-512``, or ``mTLS`` as ``name``."""
        ca = {"kafka_ca": str(self.authority.ca)}
        if how == "mTLS":
            certificate, key = self.authority.issue(name)
            files = {"kafka_certificate": str(certificate), "kafka_key": str(key)}
            return ca | files | {"brokers": self.mutual, "kafka_protocol": "SSL"}
        user = "plain" if how == "PLAIN" else "scram"
        sasl = {"kafka_mechanism": how, "kafka_user": user, "kafka_password_file": str(self.folder / "password")}
        return ca | sasl | {"brokers": self.sasl, "kafka_protocol": "SASL_SSL"}


def _upper(operation: str) -> str:
    return "".join(f"_{c}" if c.isupper() and at else c for at, c in enumerate(operation)).upper()


def _pattern(resource: str, name: str) -> ResourcePattern:
    return ResourcePattern(ResourceType[resource.upper()], name)
