"""``sekimori replay``: what it prints, and what it says of wrong arguments."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from schemas.codec import decode_decision
from tests.support.lines import frame, sent
from tests.support.paths import RECORDED

GEO = RECORDED / "geo.mmdb"


def replayed(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["replay", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_messages_of_enforcement_or_a_table(tmp_path: Path) -> None:
    logs = [str(RECORDED / name) for name in ("mail.log", "dovecot.log")]
    status, out, err = replayed(*logs, "--geoip", str(GEO), "--json")
    decisions = [decode_decision(line.encode()) for line in out.splitlines()]
    assert status == 0
    assert len(decisions) > 100
    assert "8,337 lines" in err
    status, table, _ = replayed(*logs, "--geoip", str(GEO))
    assert status == 0
    assert "victim01@testbed.example" in table
    assert f"{len(decisions)} decisions" in table


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["/nowhere/mail.log"], "does not exist"),
        ([str(GEO), "--home", "jp"], "'jp' is no ISO 3166 code such as JP"),
        ([str(GEO), "--zone", "Mars"], "'Mars' is no IANA zone"),
        ([str(GEO), "--geoip", __file__], "no usable MaxMind DB file"),
        ([str(GEO), "--rules", __file__], "no valid TOML"),
        ([str(RECORDED)], "directory"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], why: str) -> None:
    status, _, err = replayed(*arguments)
    assert status != 0
    assert why in " ".join(err.split())
    assert "Traceback" not in err


def test_the_command_reads_standard_input_and_shows_no_control_characters(tmp_path: Path) -> None:
    hostile = [line.replace("alice@", "\x1b[31malice@") for line in sent(700)]
    result = CliRunner().invoke(main, ["replay", "-"], input=frame(hostile))
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "alice@x.example" in result.stdout
    assert "every address counts as at home" in result.stderr
    for line in CliRunner().invoke(main, ["replay", "-", "--json"], input=frame(hostile)).stdout.splitlines():
        json.loads(line)
