"""``sekimori replay``: what it prints, and what it says of wrong arguments."""

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from schemas.codec import decode_decision
from tests.support.lines import frame, sent
from tests.support.paths import RECORDED, ROOT
from tests.support.waves import CUSTOMERS, LIMITS, WILD, rules, wave

GEO = RECORDED / "geo.mmdb"
(EXAMPLE,) = re.findall(r"```text\n(the brake .*?)```", (ROOT / "docs" / "operators.md").read_text("utf-8"), re.DOTALL)


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


def test_the_same_lines_in_two_files_count_once_and_that_is_told(tmp_path: Path) -> None:
    """syslog writes mail.log and mail.info: 80 failures at home within 9 minutes are not 160. A file given twice is
    no other case."""
    line = (
        "Nov 24 10:{:02}:{:02} mx1 dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 "
        "secs): user=<bob@example.org>, method=PLAIN, rip=198.18.0.77, lip=192.0.2.10, TLS, session=<Ab{:08}Xy>"
    )
    lines = [line.format(*divmod(7 * number, 60), number) for number in range(80)]
    one, other = tmp_path / "mail.log", tmp_path / "mail.info"
    for path in (one, other):
        path.write_bytes(frame(lines) + b"\n")
    for files in ((one, other), (one, one), (one, other, one)):
        status, _, err = replayed(*map(str, files), "--json")
        assert status == 0
        assert "0 decisions: nobody restricted" in err
        assert f"{80 * (len(files) - 1)} lines are in several of these files, and were counted once" in err
    assert "in several" not in replayed(str(one), "--json")[2]
    other.write_bytes(frame([text.replace("Ab", "Cd") for text in lines]) + b"\n")
    status, _, err = replayed(str(one), str(other), "--json")
    assert "2 decisions" in err, "other sessions are other failures"
    assert "in several" not in err


# --- the brake ------------------------------------------------------------------------------------------------------


def test_what_the_brake_would_hold_is_told_and_nothing_is_held(tmp_path: Path) -> None:
    log, wild = str(wave(tmp_path)), str(rules(tmp_path, WILD))
    partitions = 4
    status, out, err = replayed(log, "--rules", wild, "--json")
    assert status == 0
    lines = [json.loads(line) for line in out.splitlines()]
    held = [line for line in lines if line.pop("would_hold", False)]
    assert [line["mode"] for line in lines] == ["enforce"] * CUSTOMERS
    assert len(held) == CUSTOMERS - 3 * partitions
    for brake in ("[brake]\nhourly = 0\n", "[brake]\nhourly = 1000\n"):
        free = replayed(log, "--rules", str(rules(tmp_path, brake + LIMITS, "free.toml")), "--json")
        assert [json.loads(line) for line in free[1].splitlines()] == lines
        assert "brake" not in free[2]
    first = held[0]["issued_at"].replace("T", " ").replace("Z", " UTC")
    told = f"  {len(held):>5}  account_send_rate: {len(held)} subjects, first at {first}\n"
    for text in (err, replayed(log, "--rules", wild)[1]):
        assert f"the brake would have held {len(held)} decisions (on 4 partitions, each for itself)" in text
        assert told in text
        assert EXAMPLE in text, "the page on operators shows it"


def test_the_setting_that_is_told_lets_all_pass(tmp_path: Path) -> None:
    log = str(wave(tmp_path))
    _, _, err = replayed(log, "--rules", str(rules(tmp_path, WILD)), "--json")
    (enough,) = re.findall(r"`hourly = (\d+)` under \[brake\] would let all of it pass", err)
    for hourly, held in ((int(enough), False), (int(enough) - 1, True)):
        file = rules(tmp_path, f"[brake]\nhourly = {hourly}\n{LIMITS}")
        _, out, err = replayed(log, "--rules", str(file), "--json")
        assert ("would_hold" in out, "brake" in err) == (held, held)


@pytest.mark.parametrize(("partitions", "told"), [("1", "on one partition"), ("2", "on 2 partitions, each for itself")])
def test_each_partition_of_the_installation_counts_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partitions: str, told: str
) -> None:
    monkeypatch.setenv("SEKIMORI_PARTITIONS", partitions)
    _, table, _ = replayed(str(wave(tmp_path)), "--rules", str(rules(tmp_path, WILD)))
    held = CUSTOMERS - 3 * int(partitions)
    assert f"would have held {held} decisions ({told}); here it holds nothing" in table
    assert table.count("(would be held)") == held


def test_a_file_of_which_nothing_is_understood_is_no_quiet_day(tmp_path: Path) -> None:
    odd, well = tmp_path / "odd.log", tmp_path / "well.log"
    odd.write_bytes(b"24.11. 1:50 mx postfix/smtpd[1]: connect from unknown[192.0.2.7]\n" * 3)
    well.write_bytes(frame(sent(700)))
    status, out, err = replayed(str(odd), str(well))
    assert status == 1
    assert "odd.log: no line of it is understood" in err
    assert "well.log" not in err
    assert "3 lines look like mail log and were not understood" in out
    assert "alice@x.example" in out
    assert replayed(str(well))[0] == 0
    odd.write_bytes(b"")
    assert replayed(str(odd))[0] == 0


def test_a_log_behind_the_stamps_of_docker_gives_the_same_decisions(tmp_path: Path) -> None:
    plain, docker = tmp_path / "plain.log", tmp_path / "docker.log"
    lines = [
        f"Nov 24 10:{n // 60:02}:{n % 60:02} mx1 postfix/submission/smtpd[812]: warning: unknown[198.18.112.5]: SASL "
        "LOGIN authentication failed: (reason unavailable), sasl_username=alice@example.org"
        for n in range(200)
    ]
    plain.write_bytes(frame(lines))
    docker.write_bytes(frame([f"2026-11-24T{line[7:15]}.123456789Z {line}" for line in lines]))
    found = []
    for path in (plain, docker):
        os.utime(path, (1795514400, 1795514400))
        status, out, _ = replayed(str(path), "--json")
        assert status == 0
        found.append([decode_decision(line.encode()) for line in out.splitlines()])
    told = [[(d.rule, d.subject, d.action, d.issued_at) for d in decisions] for decisions in found]
    assert told[0] == told[1]
    assert len(told[0]) > 1
