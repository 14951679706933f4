"""Every example beside a hook: what is restricted, what a mail server asks, what it is told.

Blocks with a blank row between them. ``=`` rows are the state, ``>`` rows a request, ``<`` rows its answer:

* ``= account alice@example.org reject scope=both pool=slow: too much mail``: kind, subject, action, what differs from
  the usual (scope, mode, rule, protocols, and parameters of the action), the reason. The decision's id is ``example``.
* ``= allow prefix 198.51.100.0/24``; ``= country RU of 198.51.100.7``; ``= --disconnect``, an option of the agent.
* ``>`` of a LineHook: the request's lines. Of an HttpHook: method and target, then the body, if there is one.
* ``<``: the answer's lines; ``no answer`` where a LineHook closes the connection; a status such as ``400`` where an
  HttpHook refuses. JSON may be spaced at will. In requests and reasons ``\xff`` stands for a byte.

After ``# hostile`` stand requests in which a client imitates the server, or others would break it.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest

import pipeline.hooks
from pipeline.enforce.table import DecisionTable
from pipeline.enforce.terms import LOGIN_ACTIONS
from pipeline.hooks import HOOKS
from pipeline.hooks.hook import Context, Hook, HttpRequest, LineHook, NoSuchRequest, UnreadableRequest
from tests.support.decisions import NOW, allow, decision
from tests.support.hooks import context

FOLDER = Path(pipeline.hooks.__file__).parent
NO_ANSWER = ["no answer"]
_DECISION = re.compile(r"(?P<kind>\w+) (?P<subject>\S+) (?P<action>\w+)(?P<given>( \S+=\S+)*): (?P<reason>.*)")
_GIVEN = frozenset({"scope", "mode", "rule"})


class Example(NamedTuple):
    """``asked``: (request, answer) rows, in order."""

    state: list[str]
    asked: list[tuple[list[str], list[str]]]
    hostile: bool


def examples(path: Path) -> list[Example]:
    hostile, found = False, []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        rows = [row for row in block.split("\n") if row]
        hostile = hostile or "# hostile" in rows
        rows = [row for row in rows if not row.startswith("#")]
        if rows:
            found.append(_example(rows, hostile))
    return found


def _example(rows: list[str], hostile: bool) -> Example:
    made = Example([row[2:] for row in rows if row.startswith("= ")], [], hostile)
    before = "="
    for row in rows:
        assert row[:2] in ("= ", "> ", "< "), row
        if row[0] == ">":
            if before != ">":
                made.asked.append(([], []))
            made.asked[-1][0].append(row[2:])
        elif row[0] == "<":
            made.asked[-1][1].append(row[2:])
        before = row[0]
    assert made.asked, rows
    assert all(answer for _, answer in made.asked), rows
    return made


def context_of(state: list[str]) -> Context:
    """Raises AssertionError for a row that says nothing."""
    table, countries, flags = DecisionTable(), dict[str, str](), set[str]()
    for row in state:
        words = row.split()
        if words[0] == "allow":
            entry = allow(words[2], words[1])  # type: ignore[arg-type]
            assert table.allow(entry.key, entry), row
        elif words[0] == "country" and words[2] == "of":
            countries[words[3]] = words[1]
        elif words[0].startswith("--"):
            flags.add(words[0])
        else:
            made = _decision(row)
            assert table.apply(made.key, made), row
    return context(table, country_of=lambda address: countries.get(address, ""), flags=frozenset(flags))


def _decision(row: str) -> Any:
    said = _DECISION.fullmatch(row)
    assert said is not None, row
    fields = dict(word.split("=", 1) for word in said["given"].split())
    other: dict[str, Any] = {name: fields.pop(name) for name in _GIVEN & fields.keys()}
    other["protocols"] = fields.pop("protocols", "").split(",") if "protocols" in fields else []
    parameters: dict[str, Any] = {name: int(value) if value.isdigit() else value for name, value in fields.items()}
    if "except_sources" in parameters:
        parameters["except_sources"] = parameters["except_sources"].split(",")
    scope = "login" if said["action"] in LOGIN_ACTIONS else "send"
    given = {
        "action": said["action"],
        "scope": scope,
        "parameters": parameters,
        "reason": raw(said["reason"]).decode(),
    } | other
    return decision(said["subject"], said["kind"], id="example", **given)  # type: ignore[arg-type]


def raw(row: str) -> bytes:
    return re.sub(rb"\\x([0-9a-f]{2})", lambda byte: bytes.fromhex(byte[1].decode()), row.encode())


def ask(hook: Hook, request: list[str], asked: Context) -> list[Any]:
    """Rows of the answer; of an HttpHook what its JSON says."""
    try:
        if isinstance(hook, LineHook):
            text = b"\n".join(map(raw, request))
            assert hook.end not in text, request
            encoded = hook.answer(text, asked, NOW).encode()
            assert encoded.endswith(hook.end), encoded
            return encoded.decode("ascii").removesuffix(hook.end.decode()).split("\n")
        method, target = request[0].split()
        parts = urlsplit(target)
        body = b"\n".join(map(raw, request[1:]))
        encoded = hook.answer(HttpRequest(method, parts.path, dict(parse_qsl(parts.query)), body), asked, NOW).encode()
        return [json.loads(encoded)]
    except UnreadableRequest:
        return NO_ANSWER if isinstance(hook, LineHook) else ["400"]
    except NoSuchRequest:
        return ["404"]


FILES = {path.stem: examples(path) for path in sorted(FOLDER.glob("*.txt"))}
BY_NAME = {hook.name: hook for hook in HOOKS}


@pytest.mark.parametrize(
    ("name", "example"),
    [pytest.param(name, row, id=f"{name}-{i}") for name, rows in FILES.items() for i, row in enumerate(rows)],
)
def test_example(name: str, example: Example) -> None:
    hook, asked = BY_NAME[name], context_of(example.state)
    for request, expected in example.asked:
        wanted: list[Any] = expected
        if not isinstance(hook, LineHook) and expected[0].startswith("{"):
            wanted = [json.loads(" ".join(expected))]
        assert ask(hook, request, asked) == wanted, request


def test_every_hook_has_examples_of_what_passes_what_is_restricted_and_hostile_ones() -> None:
    assert set(FILES) == set(BY_NAME)
    for name, rows in FILES.items():
        assert any(not row.state for row in rows), f"{name}: nobody is restricted"
        assert any(" mode=shadow" in said for row in rows for said in row.state), f"{name}: in shadow mode"
        assert any(row.hostile for row in rows), f"{name}: # hostile"
        refused = NO_ANSWER if isinstance(BY_NAME[name], LineHook) else ["400"]
        assert any(answer == refused for row in rows for _, answer in row.asked), f"{name}: a request that is none"


def test_names_and_options_are_there_once() -> None:
    assert len(BY_NAME) == len(HOOKS)
    options = [option.name for hook in HOOKS for option in hook.options]
    assert len(set(options)) == len(options)
    assert not {"--clock-offset", "--metrics", "--help"} & set(options)
    for hook in HOOKS:
        kinds = {option.kind for option in hook.options}
        assert kinds & {"address", "path"}, f"{hook.name} is served nowhere"
        assert isinstance(hook, LineHook) or "path" not in kinds, f"{hook.name}: HTTP has no UNIX socket here"
