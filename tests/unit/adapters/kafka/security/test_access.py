"""How clients get into a cluster, as the settings say."""

from pathlib import Path

import pytest

from pipeline.adapters.kafka.security.access import OPEN, Access, cluster_at, cluster_of
from pipeline.settings import Settings, SettingsError


def test_plain_bootstrap_servers_are_open() -> None:
    assert cluster_at("127.0.0.1:9092").access is OPEN
    assert OPEN.of_kafka_python() == {"security_protocol": "PLAINTEXT"}
    assert OPEN.of_faust() is None


def test_a_cluster_is_its_servers_and_how_to_get_in(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("geheim\nsecond line")
    env = {
        "SEKIMORI_KAFKA_PROTOCOL": "SASL_PLAINTEXT",
        "SEKIMORI_KAFKA_MECHANISM": "SCRAM-SHA-256",
        "SEKIMORI_KAFKA_USER": "hana",
        "SEKIMORI_KAFKA_PASSWORD_FILE": str(secret),
    }
    cluster = cluster_of(Settings.from_env(env), "kafka.example:9093")
    assert cluster == "kafka.example:9093"
    assert cluster_of(Settings.from_env(env)) == Settings().brokers
    given = cluster.access.of_kafka_python()
    assert (given["sasl_mechanism"], given["sasl_plain_username"]) == ("SCRAM-SHA-256", "hana")
    assert given["sasl_plain_password"] == "geheim"
    assert "geheim" not in repr(cluster.access)
    credentials = cluster.access.of_faust()
    assert (credentials.username, credentials.password) == ("hana", "geheim")
    secret.unlink()
    with pytest.raises(SettingsError, match="KAFKA_PASSWORD_FILE"):
        cluster.access.of_kafka_python()


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("?")
    with pytest.raises(SettingsError, match=r"ca\.pem"):
        Access("SSL", ca=tmp_path / "ca.pem").of_kafka_python()
    with pytest.raises(SettingsError, match=r"mine\.pem"):
        Access("SSL", certificate=tmp_path / "mine.pem", key=tmp_path / "key.pem").of_faust()


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"PROTOCOL": "TLS"}, "is none of PLAINTEXT"),
        ({"MECHANISM": "GSSAPI"}, "is none of PLAIN,"),
        ({"PROTOCOL": "SASL_SSL"}, "USER: is needed with"),
        ({"USER": "hana"}, "has no effect without"),
        ({"CA": __file__}, "SEKIMORI_KAFKA_CA"),
        ({"PROTOCOL": "SSL", "KEY": __file__}, "give both, or none"),
        ({"PROTOCOL": "SSL", "CA": "/nowhere/ca.pem"}, "there is no file /nowhere/ca.pem"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(env: dict[str, str], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        Settings.from_env({f"SEKIMORI_KAFKA_{name}": value for name, value in env.items()})
