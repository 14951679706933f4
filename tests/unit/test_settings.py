from pathlib import Path

import pytest

from pipeline.settings import Settings, SettingsError

WRONG = {
    "SEKIMORI_BROKER": ("x", "no such setting; there are SEKIMORI_"),
    "SEKIMORI_PARTITIONS": ("four", "'four' is no int"),
    "SEKIMORI_CHECKPOINT_SECONDS": ("soon", "'soon' is no float"),
    "SEKIMORI_LOG_JSON": ("maybe", "'maybe' is no bool"),
    "SEKIMORI_HOME": ("Japan", "'Japan' is no ISO 3166 code"),
    "SEKIMORI_ZONE": ("Nowhere/Land", "is no IANA zone such as Asia/Tokyo"),
    "SEKIMORI_ZONES": ("mx=Asia/Tokyo,west=Nowhere/Land", "'Nowhere/Land' is no IANA zone such as Asia/Tokyo"),
    "SEKIMORI_GEOIP": ("/nowhere/geo.mmdb", "there is no file /nowhere/geo.mmdb"),
    "SEKIMORI_RULES": ("/nowhere/rules.toml", "there is no file /nowhere/rules.toml"),
}


@pytest.mark.parametrize(("name", "value", "why"), [(n, v, w) for n, (v, w) in WRONG.items()])
def test_what_is_wrong_is_refused_with_name_and_why(name: str, value: str, why: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({name: value})
    assert str(refused.value).startswith(f"{name}: ")
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"), [("PARTITIONS", "0"), ("PARTITIONS", "513"), ("CHECKPOINT_SECONDS", "0.1"), ("HOME", "jp"),
                        ("ZONE", "../../etc/passwd"), ("CHECKPOINT_SECONDS", "nan")]
)  # fmt: skip
def test_what_is_impossible_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"SEKIMORI_{name}: "):
        Settings.from_env({f"SEKIMORI_{name}": value})


def test_nothing_given_is_the_default_and_so_is_an_empty_value() -> None:
    assert Settings.from_env({}) == Settings() == Settings.from_env({"SEKIMORI_PARTITIONS": "", "PATH": "/bin"})


def test_values_are_converted(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.touch()
    settings = Settings.from_env(
        {
            "SEKIMORI_PARTITIONS": "8",
            "SEKIMORI_CHECKPOINT_SECONDS": "2.5",
            "SEKIMORI_LOG_JSON": "yes",
            "SEKIMORI_RULES": str(rules),
            "SEKIMORI_ZONE": "Asia/Tokyo",
        }
    )
    assert (settings.partitions, settings.checkpoint_seconds, settings.log_json) == (8, 2.5, True)
    assert (settings.rules, settings.zone) == (rules, "Asia/Tokyo")


@pytest.mark.parametrize("value", ["mx", "=UTC", "mx=UTC,mx=UTC", "mx=", "mx=UTC,"])
def test_zones_of_hosts_and_topics_that_cannot_be_meant(value: str) -> None:
    with pytest.raises(SettingsError, match="SEKIMORI_ZONES: "):
        Settings.from_env({"SEKIMORI_ZONES": value})


def test_zones_of_hosts_and_topics() -> None:
    zones = Settings.from_env({"SEKIMORI_ZONES": "mx3=Asia/Tokyo, authlog=UTC"}).named_zones()
    assert {name: str(zone) for name, zone in zones.items()} == {"mx3": "Asia/Tokyo", "authlog": "UTC"}
    assert Settings.from_env({}).named_zones() == {}


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("KAFKA_PROTOCOL", {"SEKIMORI_KAFKA_PROTOCOL": "TLS"}),
        ("KAFKA_MECHANISM", {"SEKIMORI_KAFKA_MECHANISM": "GSSAPI"}),
        ("KAFKA_USER", {"SEKIMORI_KAFKA_USER": "u"}),
        ("KAFKA_USER", {"SEKIMORI_KAFKA_PROTOCOL": "SASL_SSL", "SEKIMORI_KAFKA_PASSWORD_FILE": __file__}),
        ("KAFKA_PASSWORD_FILE", {"SEKIMORI_KAFKA_PROTOCOL": "SASL_SSL", "SEKIMORI_KAFKA_USER": "u"}),
        ("KAFKA_CA", {"SEKIMORI_KAFKA_CA": __file__}),
        ("KAFKA_KEY", {"SEKIMORI_KAFKA_PROTOCOL": "SSL", "SEKIMORI_KAFKA_KEY": __file__}),
        ("KAFKA_CA", {"SEKIMORI_KAFKA_PROTOCOL": "SSL", "SEKIMORI_KAFKA_CA": "/nowhere/ca.pem"}),
        ("PREFIX", {"SEKIMORI_PREFIX": "mail a"}),
        ("REPLICATION", {"SEKIMORI_REPLICATION": "-1"}),
        ("MIN_INSYNC", {"SEKIMORI_REPLICATION": "2", "SEKIMORI_MIN_INSYNC": "3"}),
        ("SETTINGS", {"SEKIMORI_SETTINGS": "/nowhere/sekimori.toml"}),
    ],
)
def test_what_does_not_fit_together_is_refused(name: str, env: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=f"^SEKIMORI_{name}: "):
        Settings.from_env(env)


def test_the_environment_goes_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").touch()
    file = tmp_path / "sekimori.toml"
    file.write_text(
        """
partitions = 8
checkpoint_seconds = 2
log_json = true
home = "DE"
rules = "rules.toml"
zone = "Europe/Berlin"
zones = {mx3 = "America/New_York", authlog = "UTC"}
"""
    )
    env = {"SEKIMORI_SETTINGS": str(file), "SEKIMORI_HOME": "FR", "SEKIMORI_ZONE": ""}
    settings, origins = Settings.with_origins(env)
    assert (settings.partitions, settings.checkpoint_seconds, settings.log_json) == (8, 2.0, True)
    assert (settings.home, settings.zone, settings.brokers) == ("FR", "Europe/Berlin", Settings().brokers)
    assert settings.rules == tmp_path / "rules.toml"  # beside the file
    assert {name: zone.key for name, zone in settings.named_zones().items()} == {
        "mx3": "America/New_York",
        "authlog": "UTC",
    }
    assert (origins["home"], origins["zone"], origins["brokers"]) == ("environment", "file", "default")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("partitons = 4", "partitons: no such setting; there are agent_socket, analysis, "),
        ("[kafka]\nuser = 'x'", "kafka: no such setting"),
        ("partitions = true", "partitions: True is no int"),
        ("partitions = 600", "SEKIMORI_PARTITIONS: 600 is outside 1 to 512"),
        ("home = ['JP']", "home: ['JP'] is no str"),
        ("geoip = 4", "geoip: 4 is no path"),
        ("geoip = 'geo.mmdb'", "SEKIMORI_GEOIP: there is no file "),
        ("partitions = ", "cannot be read: "),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_why(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "sekimori.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({"SEKIMORI_SETTINGS": str(file)})
    assert str(file) in str(refused.value)
    assert why in str(refused.value)
