"""A page of ``docs/`` followed to the letter, in a copy of the checkout."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import indent

from tests.support.paths import ROOT

TYPES = ".mypy_cache"
_HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
_FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of(page: str) -> dict[str, list[tuple[str, str]]]:
    """Heading (``## ``; "" for what stands before the first) -> its fenced blocks, as (language, text)."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    _, *rest = _HEADING.split(f"## \n{text}")
    return {
        heading: [(block["language"], block["code"]) for block in _FENCED.finditer(body)]
        for heading, body in zip(rest[::2], rest[1::2], strict=True)
    }


def check_out(folder: Path) -> "Checkout":
    """A copy of this checkout, with what is not committed yet; a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    if (ROOT / TYPES).is_dir():  # what mypy knows of the files that stay as they are: ten times as fast
        shutil.copytree(ROOT / TYPES, folder / TYPES)
    copy = Checkout(folder)
    copy.track()
    return copy


class Checkout:
    """Edits and commands as a person would do them there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def track(self) -> None:
        """New files count as tracked from now on."""
        for command in (["git", "init", "-q"], ["git", "add", "-A"]):
            subprocess.run(command, cwd=self.root, check=True)

    def write(self, path: str, text: str) -> None:
        """A new file."""
        assert not (self.root / path).exists(), path
        (self.root / path).write_text(text, encoding="utf-8")

    def append(self, path: str, text: str) -> None:
        """Text after the last line of a file."""
        with (self.root / path).open("a", encoding="utf-8") as file:
            file.write(text)

    def add_entry(self, path: str, registry: str, entry: str, imported: str) -> None:
        """An entry more at the end of the tuple or dict ``registry`` of a module; ``imported`` in the import above."""
        text = (self.root / path).read_text(encoding="utf-8")
        start = re.search(rf"^{registry}\b.*[({{\[]$", text, re.MULTILINE)
        assert start is not None, f"no {registry} in {path}"
        end = re.compile(r"^[)}\]]", re.MULTILINE).search(text, start.end())
        assert end is not None
        text = f"{text[: end.start()]}{indent(entry.strip(), '    ')}\n{text[end.start() :]}"
        if imported:
            package = re.search(r"^from pipeline\.\w+ import (\(\n)?", text, re.MULTILINE)
            assert package is not None, f"no import of modules in {path}"
            module = f"    {imported},\n" if package[1] else f"{imported}, "
            text = f"{text[: package.end()]}{module}{text[package.end() :]}"
        (self.root / path).write_text(text, encoding="utf-8")
        self.run("-m", "ruff", "check", "--quiet", "--select", "I", "--fix", path)

    def run(self, *arguments: str, status: int = 0) -> str:
        """Python with these arguments, on the modules of the copy. AssertionError with its output if it ends with
        another ``status``."""
        env = os.environ | {"PYTHONPATH": str(self.root)}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.root, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, f"{arguments}\n{done.stdout}{done.stderr}"
        return done.stdout

    def check(self, *tests: str) -> None:
        """What ``make check`` does, with these tests alone."""
        self.track()
        self.run("-m", "ruff", "check")
        self.run("-m", "ruff", "format", "--check")
        self.run("-m", "mypy")
        self.run("-m", "pytest", "-m", "not servers", *tests)
