"""What ``ship`` tells of the zone."""

import click
import pytest
from click.testing import CliRunner

from pipeline.cli.ship import _zone, ship


@pytest.mark.parametrize(
    ("arguments", "env", "told"),
    [
        (["--zone", "Asia/Tokyo"], {"SEKIMORI_ZONE": "Europe/Paris", "TZ": "UTC"}, "Asia/Tokyo"),
        (["--zone", "Asia/Tokyo", "--host", "mx2"], {}, "Asia/Tokyo"),
        ([], {"SEKIMORI_ZONE": "Europe/Paris", "TZ": "UTC"}, "Europe/Paris"),
        (["--host", "mx2"], {"SEKIMORI_ZONE": "Europe/Paris"}, "Europe/Paris"),
        ([], {"TZ": "America/New_York"}, "America/New_York"),
        (["--host", "mx2"], {"TZ": "America/New_York"}, ""),
    ],
)
def test_the_option_the_setting_the_host(
    arguments: list[str], env: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SEKIMORI_ZONE", "SEKIMORI_SETTINGS", "TZ"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with ship.make_context("ship", [*arguments, "mail.log"]) as context, context:
        assert _zone(context.params["zone"])(0) == told


def test_no_zone() -> None:
    result = CliRunner().invoke(ship, ["--zone", "Mars/Olympus", "mail.log"])
    assert result.exit_code == click.UsageError.exit_code
    assert "'Mars/Olympus' is no IANA zone such as Asia/Tokyo" in result.output
