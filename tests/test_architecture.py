"""Imports flow one way, the core is pure, files stay small."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("schemas", "pipeline", "jobs")
WORLD = ("pipeline.adapters", "pipeline.cli")
# The order in which the flow is written down in pipeline/__init__.py; each imports from itself and from what is before.
ORDER = (
    "pipeline.formats",
    "pipeline.failures",
    "pipeline.join",
    "pipeline.enrich",
    "pipeline.subjects",
    "pipeline.windows",
    "pipeline.rules",
    "pipeline.decide",
    "pipeline.judge",
    "pipeline.detector",
    "pipeline.hooks",
    "pipeline.flow",
    "pipeline.stages",
)
ANYWHERE = ("pipeline.peers", "pipeline.networks", "pipeline.metrics", "pipeline.ports")  # they import no stage
CLIENTS = frozenset(
    ("kafka", "faust", "aiokafka", "aiohttp", "geoip2", "maxminddb", "clickhouse_driver", "prometheus_client", "uvloop")
)
OUTSIDE = frozenset(("random", "secrets", "subprocess", "threading", "asyncio", "time.time"))
IMPURE = frozenset(("time.time", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"))


@cache
def tracked() -> tuple[Path, ...]:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(ROOT / name for name in listed.split("\n") if name and (ROOT / name).exists())


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def under(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


PARTS = [pytest.param(path, id=module(path)) for path in tracked() if under(module(path), *OURS)]
CORE = [part for part in PARTS if under(str(part.id), "pipeline", "schemas") and not under(str(part.id), *WORLD)]


@pytest.mark.parametrize("path", PARTS)
def test_imports_flow_one_way(path: Path) -> None:
    name, ours = module(path), [i for i in imports(path) if under(i, *OURS)]
    if under(name, "schemas"):
        assert [i for i in ours if not under(i, "schemas")] == []
    elif not under(name, *WORLD, "jobs"):
        assert [i for i in ours if under(i, *WORLD, "jobs")] == []
    elif under(name, "pipeline.adapters"):
        assert [i for i in ours if under(i, "pipeline.cli", "jobs")] == []
    elif under(name, "jobs"):
        assert [i for i in ours if under(i, "pipeline.cli")] == []


@pytest.mark.parametrize("stage", ORDER)
def test_stages_import_only_earlier_ones(stage: str) -> None:
    later = ORDER[ORDER.index(stage) + 1 :]
    files = [path for path in tracked() if under(module(path), stage)]
    assert files
    assert [(module(p), i) for p in files for i in imports(p) if under(i, *later)] == []


@pytest.mark.parametrize("name", ANYWHERE)
def test_what_every_stage_uses_uses_no_stage(name: str) -> None:
    (path,) = (path for path in tracked() if module(path) == name)
    assert [i for i in imports(path) if under(i, *ORDER)] == []


def test_the_order_is_the_one_that_is_written_down() -> None:
    text = ast.get_docstring(tree(ROOT / "pipeline" / "__init__.py")) or ""
    written = [line.split()[0] for line in text.split("\n") if line[:1].isalpha() and "  " in line]
    assert [f"pipeline.{name}" for name in written if f"pipeline.{name}" in ORDER] == [
        name for name in ORDER if name.removeprefix("pipeline.") in written
    ]


@pytest.mark.parametrize("path", PARTS)
def test_only_adapters_import_client_libraries(path: Path) -> None:
    if not under(module(path), *WORLD):
        allowed = {"uvloop"} if under(module(path), "jobs") else set()  # which loop to run is wiring
        assert sorted({i.split(".")[0] for i in imports(path)} & CLIENTS - allowed) == []


@pytest.mark.parametrize("path", CORE)
def test_the_core_knows_neither_the_clock_nor_chance(path: Path) -> None:
    used = {ast.unparse(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    assert sorted(name for name in used if name.removeprefix("datetime.") in IMPURE or name in IMPURE) == []
    assert not set(imports(path)) & {
        "random",
        "secrets",
        "socketserver",
        "subprocess",
        "threading",
        "asyncio",
        "time.time",
    }


def test_modules_have_a_docstring_and_fit() -> None:
    ours = [path for path in tracked() if under(module(path), *OURS, "tests", "bench", "notebooks")]
    assert [
        str(path) for path in ours if len(path.read_text(encoding="utf-8").split("\n")) > 301 + 100 * is_test(path)
    ] == []
    bare = [path for path in ours if not is_test(path) and path.read_text(encoding="utf-8").strip()]
    assert [str(path) for path in bare if ast.get_docstring(tree(path)) is None] == []


def is_test(path: Path) -> bool:
    return under(module(path), "tests")


def test_nothing_is_left_to_do_and_no_fault_is_hidden() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "X" * 3)
    for path in tracked():
        text = path.read_text(encoding="utf-8")
        assert [mark for mark in marks if mark in text] == [], path
        handlers = [n for n in ast.walk(tree(path)) if isinstance(n, ast.ExceptHandler)]
        broad = [h for h in handlers if h.type is None or ast.unparse(h.type) in ("Exception", "BaseException")]
        assert [h.lineno for h in broad if ast.unparse(h.body[-1]) != "raise"] == [], path
