"""The page on adding a format, followed to the letter: its two files, its entry, its examples."""

import importlib.util
import re
from pathlib import Path

import msgspec
import pytest

import pipeline.formats
from pipeline.formats import FORMATS, LineReader, Unreadable
from pipeline.formats.routes import Routes
from schemas.event import Event
from tests.support.paths import ROOT
from tests.unit.formats.test_examples import REFERENCE, UNSET, blocks

PAGE = (ROOT / "docs" / "add-a-log-format.md").read_text(encoding="utf-8")
FILE = re.compile(r"^## \d\. The (?:reader|examples): `pipeline/formats/(?P<name>[a-z0-9_.]+)`$", re.MULTILINE)
FENCED = re.compile(r"^```\w*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def files() -> dict[str, str]:
    """The files that the page tells to write: the first fenced block below each heading that names one."""
    found = {}
    for heading in FILE.finditer(PAGE):
        fenced = FENCED.search(PAGE, heading.end())
        assert fenced is not None
        found[heading["name"]] = fenced["code"]
    return found


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LineReader:
    """A reader that has the page's format, loaded from files as the page says."""
    for name, content in files().items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("pipeline.formats.pigeon", tmp_path / "pigeon.py")
    assert spec is not None
    assert spec.loader is not None
    pigeon = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pigeon)
    entry = FENCED.search(PAGE, PAGE.index("## 3. The entry"))
    assert entry is not None
    added = eval(f"({entry['code'].strip()})", {"pigeon": pigeon})
    monkeypatch.setattr(pipeline.formats, "_TABLE", Routes((*FORMATS, *added)))
    return LineReader()


def test_the_page_names_two_files() -> None:
    assert sorted(files()) == ["pigeon.py", "pigeon.txt"]


def test_the_pages_examples_come_out_as_it_says(reader: LineReader, tmp_path: Path) -> None:
    examples = blocks(tmp_path / "pigeon.txt")
    assert {expected if expected == "ignored" else expected.get("kind") for _, expected, _ in examples} >= {
        "ignored", "auth_failure", "auth_success", "other", None,
    }  # fmt: skip
    assert any(hostile for _, _, hostile in examples)
    for line, expected, _ in examples:
        outcome = reader.read(line, REFERENCE)
        if expected == "ignored":
            assert outcome is None
        elif "unreadable" in expected:
            assert isinstance(outcome, Unreadable)
            assert outcome.format == expected["unreadable"]
        else:
            fields = UNSET | msgspec.to_builtins(outcome)
            assert {name: fields.get(name) for name in expected} == expected


def test_the_lines_that_the_page_begins_with_are_understood(reader: LineReader) -> None:
    first = FENCED.search(PAGE)
    assert first is not None
    outcomes = reader.read_lines(first["code"].splitlines(), REFERENCE)
    assert [outcome.kind for outcome in outcomes if isinstance(outcome, Event)] == [
        "auth_success", "auth_failure", "auth_failure", "other",
    ]  # fmt: skip


def test_the_format_is_understood_in_any_envelope(reader: LineReader) -> None:
    text = "login ok user=bob from=198.51.100.7"
    for line in (
        f"Nov 24 01:50:43 pigeon[812]: {text}",
        f"<22>1 2026-11-24T01:50:43Z mx pigeon 812 - - {text}",
        f"2026-11-24T01:50:43.5+09:00 mx site-a/pigeon[812]: {text}",
        f'{{"SYSLOG_IDENTIFIER":"pigeon","MESSAGE":"{text}","__REALTIME_TIMESTAMP":"1795491435363357"}}',
    ):
        outcome = reader.read(line, REFERENCE)
        assert isinstance(outcome, Event)
        assert (outcome.kind, outcome.account) == ("auth_success", "bob")


def test_without_the_entry_the_lines_are_ignored() -> None:
    assert LineReader().read("Nov 24 01:50:43 mx pigeon[812]: login ok user=bob from=198.51.100.7", REFERENCE) is None
