"""What commands show: text that cannot drive a terminal, tables, JSON, and how long it still takes."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import click
import msgspec
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PIPED: Final = 240
"""Columns of a table where there is no terminal."""
_FOLDED: Final = 200  # rows
_AT_ONCE: Final = 1_000


def printable(text: str) -> str:
    """Without control characters: names come from logs, and could drive a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def safe(text: str) -> Text:
    """Printable, and without markup."""
    return Text(printable(text))


def json_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--json``, as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def print_json(value: object) -> None:
    """An object (also a struct, or a dataclass) as a line of JSON."""
    click.echo(json.dumps(msgspec.to_builtins(value)))


def table_console(piped: int, *, stderr: bool = False) -> Console:
    """For tables, which need room also where there is no terminal to fit: ``piped`` columns."""
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = piped
    return console


def plain_table(*columns: str, right: Collection[str] = (), whole: Collection[str] = ()) -> Table:
    """A table without lines. Columns: flush to the ``right``; ``whole``: not folded, however long."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        justify: JustifyMethod = "right" if name in right else "left"
        table.add_column(safe(name), overflow="fold", justify=justify, no_wrap=name in whole)
    return table


def print_rows(names: Sequence[str], rows: Iterable[Sequence[str]], whole: Collection[str] = ("until (UTC)",)) -> None:
    """A table of decisions or the like. Many rows are not folded to fit a terminal, which takes a millisecond each;
    their columns are as wide as the first ones need."""
    rest = iter(rows)
    first = list(islice(rest, _FOLDED + 1))
    if len(first) > _FOLDED:
        _print_many([names, *first], rest)
        return
    table = plain_table(*names, whole=whole)
    for row in first:
        table.add_row(*map(safe, row))
    table_console(PIPED).print(table)


def _print_many(first: Sequence[Sequence[str]], rest: Iterator[Sequence[str]]) -> None:
    widths = [max(cell_len(printable(cell)) for cell in column) for column in zip(*first, strict=True)]
    form = " ".join(f"%-{width}s" for width in widths)

    def line(row: Sequence[str]) -> str:
        plain = form % tuple(row)
        if plain.isascii() and plain.isprintable():
            return plain.rstrip()
        cells = [printable(cell) for cell in row]
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
        return " ".join(padded).rstrip()

    some: Sequence[Sequence[str]] = first
    while some:
        click.echo("\n".join(map(line, some)))
        some = list(islice(rest, _AT_ONCE))


def progress(*columns: ProgressColumn, shown: bool = True, transient: bool = True) -> Progress:
    """A bar on standard error, if that is a terminal."""
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=transient)


@contextmanager
def lines_progress(what: str, total: int) -> Iterator[Callable[[str, int, int, int], None]]:
    """Of files being read, of ``total`` bytes (0: nobody knows). To be told a file's name, how many of its bytes are
    read, and how many lines and decisions there are by now."""
    text = TextColumn("{task.fields[lines]:,} lines, {task.fields[found]} decisions")
    with progress(TextColumn(what), BarColumn(), text, TimeRemainingColumn()) as bar:
        task = bar.add_task(what, total=total or None, lines=0, found=0)
        positions: dict[str, int] = {}

        def show(name: str, position: int, lines: int, found: int) -> None:
            positions[name] = position
            bar.update(task, completed=sum(positions.values()), lines=lines, found=found)

        yield show


@contextmanager
def parts_progress() -> Iterator[Callable[[str, float], None]]:
    """Of work in several steps. To be told what is being done, and the part of it that is done."""
    percent = TextColumn("{task.percentage:>3.0f} %")
    bar = progress(TextColumn("{task.description:<8}"), BarColumn(), percent, TimeElapsedColumn())
    task = bar.add_task("reading", total=1.0)

    def show(what: str, part: float) -> None:
        if not bar.live.is_started:
            bar.start()  # only now: it is a thread, and workers had to be forked before
        bar.update(task, description=what, completed=part)

    try:
        yield show
    finally:
        bar.stop()
