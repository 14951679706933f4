"""Imports flow one way, the core is pure, files stay small."""

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

OURS = ("schemas", "pipeline", "jobs")
WORLD = ("pipeline.adapters", "pipeline.cli")
OTHERS = ("tests", "bench", "notebooks")  # what nothing of ours may need
CLIENTS = frozenset(
    ("kafka", "faust", "aiokafka", "aiohttp", "geoip2", "maxminddb", "clickhouse_driver", "prometheus_client", "uvloop")
)
CORE_MAY = frozenset(
    (
        *("array", "bisect", "collections", "contextlib", "csv", "dataclasses", "datetime", "enum", "functools"),
        *("hashlib", "heapq", "importlib", "io", "ipaddress", "itertools", "json", "math", "operator", "pathlib", "re"),
        *("socket", "struct", "tomllib", "types", "typing", "zlib", "zoneinfo", "msgspec", "numpy", "pandas"),
    )
)
"""All that the core may import from outside: no clock, no chance, no world."""
FILES_READ = frozenset({"pipeline.rules.config", "pipeline.settings", "schemas.ddl", "schemas.render"})
"""What we ship, the rules file, the settings file."""
FILE_CALLS = frozenset({"open", "read_text", "read_bytes", "write_text", "write_bytes"})
CLOCKS = frozenset({"now", "utcnow", "today"})
ADDRESSES = frozenset({"AF_INET", "AF_INET6", "inet_pton", "inet_ntoa", "inet_ntop"})


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
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (node.module or "" if not is_module(name) else name for name in names)


def resources_of(path: Path) -> Iterator[str]:
    """Packages whose files a module reads: it needs them as if it imported them."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and called(node).endswith("resources.files"):
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))


def called(node: ast.Call) -> str:
    """What is called, as it is written."""
    return ast.unparse(node.func)


@cache
def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or path.is_dir()


def under(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


PARTS = [pytest.param(path, id=module(path)) for path in tracked() if under(module(path), *OURS)]
CORE = [part for part in PARTS if under(str(part.id), "pipeline", "schemas") and not under(str(part.id), *WORLD)]


@cache
def rooms() -> tuple[str, ...]:
    """The rooms of ``pipeline/`` from top to bottom, as its docstring lists them: a word at the begin of a line, and
    what the room does."""
    text = ast.get_docstring(tree(ROOT / "pipeline" / "__init__.py")) or ""
    return tuple(match[1] for match in re.finditer(r"^([a-z]+)  +\S", text, re.MULTILINE))


def may_import(name: str) -> tuple[str, ...]:
    """The packages of ours that a module may import from."""
    top, _, rest = name.partition(".")
    if top == "schemas":
        return ("schemas",)
    if top == "jobs":
        return ("schemas", "jobs", *(f"pipeline.{room}" for room in rooms() if room != "cli"))
    if not rest:
        return ()
    listed, room = rooms(), rest.split(".")[0]
    above = listed[: listed.index(room) + 1]
    return ("schemas", *(f"pipeline.{above_it}" for above_it in above), *(("jobs",) if room == "cli" else ()))


def wrong_imports(name: str, imported: Iterable[str]) -> list[str]:
    allowed = may_import(name)
    return sorted({i for i in imported if under(i, *OURS, *OTHERS) and not under(i, *allowed)})


def test_every_module_is_in_a_room_that_is_written_down() -> None:
    inside = {
        module(path).split(".")[1] for path in tracked() if under(module(path), "pipeline") and "." in module(path)
    }
    assert sorted(inside) == sorted(rooms())
    assert len(rooms()) == len(set(rooms()))


@pytest.mark.parametrize("path", PARTS)
def test_imports_flow_one_way(path: Path) -> None:
    assert wrong_imports(module(path), (*imports(path), *resources_of(path))) == []


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("pipeline.windows.state", "pipeline.enforce.table"),
        ("pipeline.windows.state", "pipeline.storage.sql"),
        ("pipeline.ports", "pipeline.storage.sql"),
        ("pipeline.normalize.joining.join", "pipeline.windows.peers"),
        ("pipeline.hooks.postfix", "pipeline.adapters.geoip"),
        ("pipeline.adapters.geoip", "jobs.detect"),
        ("jobs.detect", "pipeline.cli.run"),
        ("schemas.event", "pipeline.formats"),
        ("pipeline.windows.state", "pipeline"),
        ("pipeline.adapters.geoip", "tests.support.paths"),
    ],
)
def test_an_import_against_the_flow_is_seen(name: str, imported: str) -> None:
    assert wrong_imports(name, [imported]) == [imported]


def test_nothing_is_imported_in_a_circle() -> None:
    """Between the files of one room, too; ``TYPE_CHECKING`` counts as any other import."""
    files = {module(path): path for path in tracked() if under(module(path), *OURS)}
    uses = {name: (set(imports(path)) & files.keys()) - {name} for name, path in files.items()}
    left = dict(uses)
    while free := [name for name, used in left.items() if not used & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def test_folders_stay_small() -> None:
    """More than ten files side by side are fine only where they are of one kind."""
    one_kind = {"pipeline/formats", "pipeline/rules", "pipeline/cli", "schemas"}
    counted = Counter(str(path.parent.relative_to(ROOT)) for path in tracked() if under(module(path), *OURS))
    assert {folder: n for folder, n in counted.items() if n > 11 and folder not in one_kind} == {}


def test_unit_tests_mirror_the_pipeline() -> None:
    """``tests/unit/windows/test_state_late.py`` tests ``pipeline/windows/state.py``; a few are about a whole room."""
    whole_room = {"examples", "hostile", "add"}
    strays = []
    unit = ROOT / "tests" / "unit"
    for path in unit.rglob("test_*.py"):
        folder = ROOT / "pipeline" / path.parent.relative_to(unit)
        words = path.stem.removeprefix("test_").split("_")
        names = {"_".join(words[:n]) for n in range(1, len(words) + 1)}
        found = any((folder / f"{name}.py").exists() or (folder / name).is_dir() for name in names)
        if not found and not names & whole_room:
            strays.append(str(path.relative_to(ROOT)))
    assert strays == []


def defined(path: Path) -> dict[str, ast.stmt]:
    """The functions, classes and constants of a module."""
    found: dict[str, ast.stmt] = {}
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            found |= {name.id: node for name in ast.walk(target or ast.Pass()) if isinstance(name, ast.Name)}
    return found


def named(node: ast.AST) -> Iterator[str]:
    """Every name that is used there, as a word of a string, too, but not of a docstring."""
    docstrings = {id(inner.value) for inner in ast.walk(node) if isinstance(inner, ast.Expr)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
            yield inner.id
        elif isinstance(inner, ast.Attribute):
            yield inner.attr
        elif isinstance(inner, ast.ImportFrom):
            yield from (alias.name for alias in inner.names)
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str) and id(inner) not in docstrings:
            yield from re.findall(r"\w+", inner.value)


def used(path: Path) -> Iterator[tuple[str | None, str]]:
    """(which of the module's own names, or None, what it names)."""
    owners = {id(node): name for name, node in defined(path).items()}
    for node in tree(path).body:
        yield from ((owners.get(id(node)), name) for name in named(node))


def test_what_is_defined_is_used() -> None:
    """Private names where they are defined, others anywhere; by more than themselves."""
    everywhere: dict[str, set[tuple[Path, str | None]]] = {}
    for path in tracked():
        for owner, name in used(path):
            everywhere.setdefault(name, set()).add((path, owner))
    words = set(re.findall(r"\w+", "".join(path.read_text(encoding="utf-8") for path in notebooks())))
    dead = []
    for path in (path for path in tracked() if under(module(path), *OURS, "bench")):
        for name in defined(path).keys() - {"__all__"}:
            uses = {(where, owner) for where, owner in everywhere.get(name, ()) if (where, owner) != (path, name)}
            if name.startswith("_"):
                uses = {(where, owner) for where, owner in uses if where == path}
            if not uses and name not in words:
                dead.append(f"{module(path)}.{name}")
    assert sorted(dead) == []


def notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_no_two_public_classes_have_one_name() -> None:
    homes: dict[str, set[str]] = {}
    for path in (path for path in tracked() if under(module(path), *OURS)):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(module(path))
    assert {name for name, modules in homes.items() if len(modules) > 1} == set()


@pytest.mark.parametrize("path", PARTS)
def test_only_adapters_import_client_libraries(path: Path) -> None:
    if not under(module(path), *WORLD):
        allowed = {"uvloop"} if under(module(path), "jobs") else set()  # which loop to run is wiring
        assert sorted({i.split(".")[0] for i in imports(path)} & CLIENTS - allowed) == []


@pytest.mark.parametrize("path", CORE)
def test_the_core_imports_nothing_of_the_world(path: Path) -> None:
    may = CORE_MAY | ({"matplotlib"} if under(module(path), "pipeline.analysis.plots") else set())
    assert sorted({i.split(".")[0] for i in imports(path)} - may - {*OURS}) == []


def impure(source: ast.Module) -> list[str]:
    """Uses of a clock, of chance, of files or of the network, whatever the import was called."""
    found = []
    for node in ast.walk(source):
        if isinstance(node, ast.Call):
            name = called(node).rpartition(".")[2]
            found += [name] if name in CLOCKS | FILE_CALLS or (name == "default_rng" and not node.args) else []
        elif isinstance(node, ast.Attribute):
            chance = ast.unparse(node.value).endswith(".random") and node.attr not in {"default_rng", "Generator"}
            found += ["random"] if chance else []
            found += [node.attr] if ast.unparse(node.value) == "socket" and node.attr not in ADDRESSES else []
        elif isinstance(node, ast.alias):
            found += [node.name] if node.name in CLOCKS or (node.name == "socket" and node.asname) else []
    return found


@pytest.mark.parametrize("path", CORE)
def test_the_core_knows_neither_the_clock_nor_chance_nor_files(path: Path) -> None:
    allowed = FILE_CALLS if module(path) in FILES_READ else frozenset()
    assert [name for name in impure(tree(path)) if name not in allowed] == []


@pytest.mark.parametrize(
    "line",
    [
        "datetime.now(UTC)",
        "import datetime as dt; dt.datetime.utcnow()",
        "import numpy as np; np.random.default_rng()",
        "import numpy as np; np.random.seed(1)",
        "open('/etc/passwd')",
        "Path('x').read_text()",
        "socket.create_connection(('127.0.0.1', 1))",
        "import socket as s; s.socket()",
    ],
)
def test_what_is_impure_is_seen(line: str) -> None:
    assert impure(ast.parse(line)) != []


@pytest.mark.parametrize("path", PARTS)
def test_modules_are_imported_by_their_names(path: Path) -> None:
    """Only commands import by a computed name: what is not called is not loaded."""
    if not under(module(path), "pipeline.cli"):
        calls = [called(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
        assert [call for call in calls if call.endswith(("import_module", "__import__"))] == []


def test_jobs_have_no_loops() -> None:
    loops = ast.For | ast.AsyncFor | ast.While | ast.comprehension
    for path in (path for path in tracked() if under(module(path), "jobs")):
        assert [node for node in ast.walk(tree(path)) if isinstance(node, loops)] == [], path


def test_modules_have_a_docstring_and_fit() -> None:
    ours = [path for path in tracked() if under(module(path), *OURS, "tests", "bench", "notebooks")]
    assert [
        str(path) for path in ours if len(path.read_text(encoding="utf-8").split("\n")) > 301 + 100 * is_test(path)
    ] == []
    bare = [path for path in ours if not is_test(path) and path.read_text(encoding="utf-8").strip()]
    assert [str(path) for path in bare if ast.get_docstring(tree(path)) is None] == []


def is_test(path: Path) -> bool:
    return under(module(path), "tests")


# Where a process goes on, whatever went wrong in one round, one request or one message of it, since others depend on
# it: how often. Each says so in the log and counts it, or has it refused, which does.
LAST_RESORTS = {
    "pipeline.adapters.agent.agent": 1,
    "pipeline.adapters.agent.http_server": 1,
    "pipeline.adapters.agent.line_server": 1,
    "pipeline.adapters.agent.operators": 1,
    "pipeline.adapters.kafka.tables": 2,
    "pipeline.adapters.streams.sweeper": 1,
}


def test_nothing_is_left_to_do_and_no_fault_is_hidden() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "X" * 3)
    for path in tracked():
        text = path.read_text(encoding="utf-8")
        assert [mark for mark in marks if mark in text] == [], path
        handlers = [n for n in ast.walk(tree(path)) if isinstance(n, ast.ExceptHandler)]
        broad = [h for h in handlers if h.type is None or ast.unparse(h.type) in ("Exception", "BaseException")]
        going_on = [h for h in broad if ast.unparse(h.body[-1]) != "raise"]
        assert len(going_on) == LAST_RESORTS.get(module(path), 0), path
        for handler in going_on:
            assert re.search(r"_log\.|refuse\(|_complain\(", "".join(map(ast.unparse, handler.body))), path
