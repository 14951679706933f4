"""``docs/architecture.md`` speaks of what is there."""

import ast
import re

from schemas.topics import TOPICS
from tests.support.paths import ROOT
from tests.test_architecture import rooms

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STATION = re.compile(r"^\| (↳ )?`(pipeline/[\w/.]+\.py)` `([\w.]+)` \|", re.MULTILINE)


def ways() -> dict[str, list[tuple[str, str, str]]]:
    """The stations of each way: is it asked by the one above, file, name."""
    parts = re.split(r"^## (.*)$", PAGE, flags=re.MULTILINE)
    found = zip(parts[1::2], parts[2::2], strict=True)
    return {title: STATION.findall(text) for title, text in found if title.startswith("The way of")}


def test_every_station_is_there() -> None:
    assert [title.removeprefix("The way of a ") for title in ways()] == ["log line", "tally", "decision", "question"]
    for stations in ways().values():
        assert len(stations) > 2
        for _, file, name in stations:
            body: list[ast.stmt] = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
            for part in name.split("."):
                (found,) = (n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part)
                body = found.body


def test_each_room_is_entered_once() -> None:
    """Whoever is asked answers, and stands above the one who asks."""
    for title, stations in ways().items():
        passed, asking = list[str](), ""
        for asked, file, _ in stations:
            room = file.split("/")[1].removesuffix(".py")
            if asked:
                assert rooms().index(room) < rooms().index(asking), f"{title}: {asking} asks {room}"
            else:
                passed, asking = passed if asking == room else [*passed, room], room
        of_us = [room for room in passed if room != "adapters"]
        assert len(of_us) == len(set(of_us)), f"{title}: {passed}"


def test_every_room_is_on_the_page() -> None:
    table = PAGE[PAGE.index("## Rooms") : PAGE.index("## The way of a log line")]
    assert [room for room in rooms() if not re.search(rf"[`/]{room}(?:\.py|/)?`", table)] == []


def test_every_topic_is_on_the_page() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ", PAGE, re.MULTILINE)
    assert rows == [topic.name for topic in TOPICS]
    for topic in TOPICS:
        (row,) = re.findall(rf"^\| `{topic.name}` \|.*$", PAGE, re.MULTILINE)
        assert ("compacted" in row) == topic.compacted
        assert topic.holds in row
