"""docker-compose.yml: valid, pinned, scalable, and every command and setting in it is one that we have."""

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from jsonschema import Draft7Validator

from pipeline.cli import main
from pipeline.settings import Settings
from tests.support.paths import ROOT

SCHEMA = Path(__file__).parent / "compose" / "compose-spec.schema.json"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("sekimori:")}
DASHBOARDS = {"prometheus", "alertmanager", "grafana"}


def test_it_is_valid_by_the_compose_specification() -> None:
    schema = json.loads(SCHEMA.read_text())
    Draft7Validator.check_schema(schema)
    errors = [
        f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in Draft7Validator(schema).iter_errors(COMPOSE)
    ]
    assert errors == []
    broken = json.loads(json.dumps(COMPOSE))
    broken["services"]["detect"]["comand"] = ["x"]
    assert list(Draft7Validator(schema).iter_errors(broken))


def test_the_services_of_the_design_are_there() -> None:
    ours = {"prepare", "normalize", "detect", "enforce", "store", "ship"}
    assert set(OURS) == ours
    assert set(SERVICES) == ours | {"kafka", "clickhouse"} | DASHBOARDS
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"ship": ["ship"]} | {name: ["dashboards"] for name in DASHBOARDS}


def test_nothing_waits_for_the_dashboards() -> None:
    for name in set(SERVICES) - DASHBOARDS:
        assert not DASHBOARDS & set(SERVICES[name].get("depends_on", ()))


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_dashboards_are_given_files_that_are_there_and_cannot_change_them(name: str) -> None:
    ours = [volume.split(":") for volume in SERVICES[name]["volumes"] if volume.startswith(".")]
    assert ours
    for path, _, mode in ours:
        assert any((ROOT / path).iterdir())
        assert mode == "ro"
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_watchers_are_told_where_their_files_are(name: str) -> None:
    service = SERVICES[name]
    options = dict(option.split("=", 1) for option in service["command"])
    volumes = {inside: outside for outside, inside in (volume.split(":")[:2] for volume in service["volumes"])}
    config = Path(options["--config.file"])
    assert (ROOT / volumes[str(config.parent)] / config.name).is_file()
    data = options.get("--storage.tsdb.path") or options["--storage.path"]
    assert volumes[data] in COMPOSE["volumes"]
    (port,) = service["ports"]
    assert options["--web.external-url"] == f"http://{port.rpartition(':')[0]}/"
    assert service["read_only"] is True


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for image in images:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?", image), image


def test_our_image_has_the_version_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert {service["image"] for service in OURS.values()} == {f"sekimori:{version[1]}"}


@pytest.mark.parametrize("name", ["normalize", "detect"])
def test_streaming_jobs_can_be_scaled(name: str) -> None:
    service = SERVICES[name]
    assert "container_name" not in service
    assert "ports" not in service
    assert "hostname" not in service
    assert not any(volume.split(":")[1] == "/var/lib/sekimori" for volume in service.get("volumes", ()))


def test_hooks_are_published_to_this_host_only() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert SERVICES["enforce"]["ports"] == ["127.0.0.1:10040:10040", "127.0.0.1:10041:10041"]


@pytest.mark.parametrize("name", list(OURS))
def test_commands_are_real(name: str) -> None:
    """Click itself parses the command lines; nothing is run."""
    command: click.Command = main
    context = click.Context(main, info_name="sekimori")
    rest = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in OURS[name]["command"]]
    while isinstance(command, click.Group):
        word, *rest = rest
        found = command.get_command(context, word)
        assert found is not None, f"sekimori has no command {word}"
        command = found
    with command.make_context(name, rest, parent=context) as parsed:
        assert not parsed.args


@pytest.mark.parametrize("name", list(OURS))
def test_settings_are_known_and_possible(name: str) -> None:
    environment = {
        key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)) for key, value in OURS[name]["environment"].items()
    }
    assert all(key.startswith("SEKIMORI_") for key in environment)
    settings = Settings.from_env(environment)
    assert settings.brokers == "kafka:9092"
    assert settings.log_json


@pytest.mark.parametrize("name", list(OURS))
def test_home_zones_geoip_rules_and_a_settings_file_can_be_given(name: str) -> None:
    service = OURS[name]
    for setting in ("SETTINGS", "HOME", "ZONE", "ZONES", "GEOIP", "RULES"):
        assert service["environment"][f"SEKIMORI_{setting}"] == f"${{SEKIMORI_{setting}:-}}"
    assert "./compose/sekimori:/etc/sekimori:ro" in service["volumes"]
    assert (ROOT / "compose" / "sekimori" / "README.md").is_file()


def test_each_waits_for_what_it_needs() -> None:
    healthy = {"condition": "service_healthy"}
    assert SERVICES["prepare"]["depends_on"] == {"kafka": healthy, "clickhouse": healthy}
    for name in set(OURS) - {"prepare"}:
        assert SERVICES[name]["depends_on"]["prepare"] == {"condition": "service_completed_successfully"}
    assert SERVICES["store"]["depends_on"]["clickhouse"] == healthy
    for name in ("kafka", "clickhouse", "normalize", "detect", "enforce", "store"):
        assert SERVICES[name]["healthcheck"]["test"]
    for name in ("normalize", "detect", "enforce", "store"):
        assert "0.0.0.0:9100" in SERVICES[name]["command"]


def test_nothing_of_ours_is_root_or_may_write_to_its_image() -> None:
    assert re.search(r"^USER sekimori$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "privileged" not in service


def test_the_lock_has_hashes_and_names_no_index() -> None:
    for name in ("requirements.lock", "requirements.runtime.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        packages = re.findall(r"^[a-z0-9][\w.\[\]-]*==\S+", text, re.MULTILINE)
        assert len(packages) > 20
        for block in re.split(r"\n(?=[a-z0-9])", text.split("\n", 2)[2]):
            assert "--hash=sha256:" in block, block
    assert "pytest==" not in text
