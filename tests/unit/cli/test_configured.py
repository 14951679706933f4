"""Every command works with the same settings: options before the environment before the file."""

import json
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from pipeline.cli import COMMANDS, main
from tests.support.lines import frame, sent
from tests.support.paths import RECORDED
from tests.support.servers import sekimori

STRICT = '[rules.account_send_rate.limits]\nall = ["3 messages / 1m"]\n'
WITHOUT_ZONE = "\n".join(sent(5, "Nov 24 01:50:43"))


def call(*arguments: str | Path, **env: str) -> Result:
    return CliRunner(env={"SEKIMORI_SETTINGS": None, **env}).invoke(main, list(map(str, arguments)))


def alone(*arguments: str | Path) -> str:
    """All that a process of its own says: commands that fork must do so before any thread, and here there may be."""
    run = subprocess.run(sekimori(*arguments), capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode != 0
    return run.stdout + run.stderr


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    path.write_bytes(frame(sent(5)) + b"\n")
    return path


def settings_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "sekimori.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def every_command(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    found, context = [(name, command)], click.Context(command)
    for below in command.list_commands(context) if isinstance(command, click.Group) else ():
        one = command.get_command(context, below)
        assert one is not None
        found += every_command(one, f"{name} {below}")
    return found


def test_every_command_takes_the_settings_file() -> None:
    context = click.Context(main)
    for name, _ in COMMANDS:
        command = main.get_command(context, name)  # type: ignore[attr-defined]
        for called, one in every_command(command, name):
            assert "--settings" in [opt for param in one.params for opt in param.opts], called


def test_replay_takes_rules_zone_home_and_geoip_from_the_file(log: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(STRICT)
    geoip = f'geoip = "{RECORDED / "geo.mmdb"}"\n'
    file = settings_file(tmp_path, 'rules = "rules.toml"\nhome = "DE"\nzone = "Asia/Tokyo"\n' + geoip)
    shipped = call("replay", "--json", log)
    assert [json.loads(line)["rule"] for line in shipped.stdout.splitlines()] == []
    for arguments, env in (
        (["--settings", file, "replay", "--json", log], {}),
        (["replay", "--json", log, "--settings", file], {}),
        (["replay", "--json", log], {"SEKIMORI_SETTINGS": str(file)}),
    ):
        run = call(*arguments, **env)
        assert run.exit_code == 0, run.output
        assert "--geoip" not in run.stderr
        (decision,) = [d for d in map(json.loads, run.stdout.splitlines()) if d["rule"] == "account_send_rate"]
        assert decision["issued_at"].startswith(("2025-11-23T16:50:43", "2026-11-23T16:50:43"))  # Tokyo, as UTC


def test_an_option_goes_before_the_environment_and_that_before_the_file(log: Path, tmp_path: Path) -> None:
    file = str(settings_file(tmp_path, 'zone = "Asia/Tokyo"\nzones = {other = "UTC"}\n'))

    def hour(*options: str, **env: str) -> str:
        run = call("parse", *options, log, SEKIMORI_SETTINGS=file, **env)
        return str(json.loads(run.stdout.splitlines()[0])["time"])[11:13]

    assert hour() == "16"
    assert hour(SEKIMORI_ZONE="Europe/Berlin") == "00"
    assert hour("--zone", "UTC", SEKIMORI_ZONE="Europe/Berlin") == "01"
    assert hour("--zone", "UTC", SEKIMORI_ZONES="mx=Asia/Tokyo") == "16"  # a host goes before all


@pytest.mark.parametrize("command", [["replay"], ["parse"], ["load", "--into", "x"], ["suggest"], ["demo"]])
def test_a_wrong_setting_stops_every_command_with_words(command: list[str], log: Path) -> None:
    run = call(*command, log, SEKIMORI_ZONE="Nowhere/Land")
    assert run.exit_code != 0
    assert "SEKIMORI_ZONE: 'Nowhere/Land' is no IANA zone" in run.stderr


def test_rules_list_shows_the_rules_in_force(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(STRICT)
    run = call("rules", "list", "--json", "--settings", settings_file(tmp_path, 'rules = "rules.toml"\n'))
    limits = {row["rule"]: row["limits"] for row in map(json.loads, run.stdout.splitlines())}
    assert limits["account_send_rate"]["all"] == ["3 messages / 1m"]


def test_settings_shows_what_is_in_force_and_no_secret(tmp_path: Path) -> None:
    text = 'dovecot_api_key = "s3cret"\nclickhouse = "clickhouses://me:s3cret@db.example/mail?x=s3cret"\nhome = "DE"\n'
    for options in ([], ["--json"]):
        run = call("settings", *options, "--settings", settings_file(tmp_path, text), SEKIMORI_PREFIX="a.")
        assert run.exit_code == 0, run.output
        assert "s3cret" not in run.output
    shown = {row["setting"]: (row["value"], row["from"]) for row in map(json.loads, run.stdout.splitlines())}
    assert shown["clickhouse"] == ("clickhouses://me@db.example/mail", "file")
    assert shown["home"] == ("DE", "file")
    assert shown["prefix"] == ("a.", "environment")
    assert shown["partitions"] == ("4", "default")


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, False), (0o644, True)])
def test_secrets_that_everybody_can_read_are_told_of(tmp_path: Path, mode: int, told: bool) -> None:
    secret = settings_file(tmp_path, 'dovecot_api_key = "s3cret"\n', mode)
    assert ("can be read by every user" in call("settings", "--settings", secret).stderr) == told
    harmless = settings_file(tmp_path, 'home = "DE"\n', mode)
    assert "can be read by every user" not in call("settings", "--settings", harmless).stderr


@pytest.mark.parametrize("place", ["clickhouse://me:s3cret@127.0.0.1:1/x", "http://me:s3cret@host", "me:s3cret@host:x"])
def test_an_address_with_a_password_is_never_echoed(log: Path, place: str) -> None:
    told = [alone("backtest", "--rules", log, "--stored", place), alone("suggest", "--stored", place)]
    told.append(call("rules", "list", SEKIMORI_CLICKHOUSE=place).output)
    if "127" not in place:
        told.append(call("run", "store", SEKIMORI_CLICKHOUSE=place).output)
    assert not any("s3cret" in output for output in told)
    assert all(told)
