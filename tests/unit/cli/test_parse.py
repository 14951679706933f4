"""``sekimori parse``: one JSON object for each line."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.parse import parse

LINES = (
    b"Nov 24 01:50:43 mx postfix/qmgr[1]: 4jYQJg4KFnzJB9r: from=<a\xff@x.example>, size=430, nrcpt=5 (queue active)\n"
    b"\n"
    b"Nov 24 01:50:43 mx kernel: hello\r\n"
    b"Nov 24 01:50:43 mx postfix/qmgr[1]: 4jYQJg4KFnzJB9r: from=<a@x.example>, size=x, nrcpt=5 (queue active)"
)


def run(*arguments: str, stdin: bytes | None = None) -> list[dict[str, object]]:
    result = CliRunner().invoke(parse, arguments, input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:])]
)
def test_one_object_for_each_line(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    path = tmp_path / "mail.log"
    path.write_bytes(pack(LINES))
    objects = run(str(path), "--year", "2026")
    assert [entry["kind"] for entry in objects] == ["other", "ignored", "ignored", "unreadable"]
    assert objects[0]["time"] == "2026-11-24T01:50:43Z"
    assert objects[0]["sender"] == "a\\xff@x.example"
    assert objects[3] == {"kind": "unreadable", "format": "postfix-qmgr", "reason": "size or nrcpt is no number"}
    assert run("-", "--year", "2026", stdin=pack(LINES)) == objects


def test_year_reference_and_zone() -> None:
    line = b"Jan  1 00:30:00 mx postfix/qmgr[1]: 4jYQJg4KFnzJB9r: removed\n"
    assert run("-", "--year", "2026", stdin=line)[0]["time"] == "2026-01-01T00:30:00Z"
    assert run("-", "--year", "2026", "--zone", "Asia/Tokyo", stdin=line)[0]["time"] == "2025-12-31T15:30:00Z"
    assert run("-", "--reference", "2026-12-31 23:59:00", stdin=line)[0]["time"] == "2027-01-01T00:30:00Z"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--zone", "Mars/Base", "-"], "no IANA zone"),
        (["--year", "2026", "--reference", "2026-01-01", "-"], "not both"),
        (["nothing-here.log"], "does not exist"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(parse, arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_a_damaged_archive_is_an_error_after_what_could_be_read(tmp_path: Path) -> None:
    path = tmp_path / "mail.log.gz"
    path.write_bytes(gzip.compress(LINES * 50)[:-9])
    result = CliRunner().invoke(parse, [str(path)])
    assert result.exit_code == 1
    assert "mail.log.gz" in result.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes((LINES + b"\n") * 20_000)
    program = "from pipeline.cli.parse import parse; parse()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["kind"] == "other"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=20) == 0


ODD = b"24.11. 1:50 mx postfix/smtpd[1]: \x1b[31m connect from unknown[192.0.2.7]\n"


def test_lines_that_look_like_mail_log_are_told(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(ODD * 2 + LINES)
    result = CliRunner().invoke(parse, [str(path), "--year", "2026"])
    assert result.exit_code == 0
    assert "2 lines look like mail log and were not understood" in result.stderr
    assert r"24.11. 1:50 mx postfix/smtpd[1]: \x1b[31m connect" in result.stderr
    assert "docs/log-forms.md" in result.stderr
    path.write_bytes(LINES)
    assert CliRunner().invoke(parse, [str(path), "--year", "2026"]).stderr == ""


@pytest.mark.parametrize("content", [ODD, b"Nov 24 01:50:43 mx kernel: hello\n", LINES.splitlines()[-1]])
def test_a_file_of_which_nothing_is_understood_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(content)
    result = CliRunner().invoke(parse, [str(path)])
    assert result.exit_code == 1
    assert "mail.log: no line of it is understood" in result.stderr
    path.write_bytes(b"\n")
    assert CliRunner().invoke(parse, [str(path)]).exit_code == 0


def test_a_line_of_many_records_gives_an_object_for_each() -> None:
    one = {"log": "Nov 24 01:50:43 mx postfix/qmgr[1]: 4jYQJg4KFnzJB9r: removed"}
    objects = run("-", "--year", "2026", stdin=json.dumps([one, one]).encode())
    assert [entry["status"] for entry in objects] == ["removed", "removed"]
