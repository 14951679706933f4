"""Plots of the queries' frames, in one look: every one says what it shows, in which unit, and what each colour means.

Colours are those of Okabe and Ito (2008), which colour-blind people can tell apart; series differ by marker or hatch,
too. Japanese text is drawn where the package ``matplotlib-fontja`` or a Japanese system font is installed.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")
MARKERS = "osD^vPX*"
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
JAPANESE = ("IPAexGothic", "Noto Sans CJK JP", "Noto Sans JP", "IPAGothic", "Hiragino Sans", "Yu Gothic")
NAMELESS = "unknown"  # how "" is shown
MOST_SERIES = len(COLOURS) - 1  # what is beyond goes into one called "others"
MOST_DATES = 31  # bars that are named one by one

Marks = Sequence[tuple[pd.Timestamp, str]]
"""(time, text) of what is to be marked on a time axis."""


@cache
def fonts() -> tuple[str, ...]:
    """Font families to draw with: DejaVu Sans, and a Japanese one where there is one."""
    package = find_spec("matplotlib_fontja")  # not imported, as that would change how everybody else's plots look
    for folder in (package.submodule_search_locations or ()) if package else ():
        for path in (Path(folder) / "fonts").glob("*.ttf"):
            font_manager.fontManager.addfont(str(path))
    there = {entry.name for entry in font_manager.fontManager.ttflist}
    return ("DejaVu Sans", *[name for name in JAPANESE if name in there][:1])


class UnlabelledPlotError(ValueError):
    """A plot without a title, or an axis without a label."""


def checked(figure: Figure) -> Figure:
    """The figure, if people can read it. Raises UnlabelledPlotError."""
    for axes in figure.axes:
        for what, text in (("title", axes.get_title()), ("x", axes.get_xlabel()), ("y", axes.get_ylabel())):
            if not text.strip():
                raise UnlabelledPlotError(f"{axes.get_title() or 'a plot'}: no {what} label")
        if len(axes.get_legend_handles_labels()[1]) > 1 and axes.get_legend() is None:
            raise UnlabelledPlotError(f"{axes.get_title()}: several series and no legend")
    return figure


def _new(title: str, xlabel: str, ylabel: str, height: float = 4.0) -> tuple[Figure, Axes]:
    with rc_context({"font.family": list(fonts())}):
        figure = Figure(figsize=(10, height), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title, loc="center")
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
    axes.grid(True, alpha=0.3)
    axes.set_axisbelow(True)
    return figure, axes


def _done(figure: Figure) -> Figure:
    family = list(fonts())
    for axes in figure.axes:
        if len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend(prop={"family": family, "size": 9}, loc="upper left", bbox_to_anchor=(1.01, 1.0))
        for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.texts):
            text.set_fontfamily(family)
    return checked(figure)


def _named(value: object) -> str:
    return str(value) if value != "" else NAMELESS


def _pivot(frame: pd.DataFrame, x: str, y: str, by: str) -> pd.DataFrame:
    """One column for each value of ``by``, the largest first, the smallest together as "others"."""
    table = frame.assign(**{by: frame[by].map(_named)}).pivot_table(y, x, by, aggfunc="sum", fill_value=0)
    table = table[table.sum().sort_values(ascending=False, kind="stable").index]
    if table.shape[1] > MOST_SERIES + 1:
        rest = table.iloc[:, MOST_SERIES:].sum(axis=1)
        table = table.iloc[:, :MOST_SERIES].assign(others=rest)
    return table


def _mark(axes: Axes, marks: Marks) -> None:
    for number, (at, text) in enumerate(marks):
        axes.axvline(at, color="black", linestyle="--", linewidth=1)
        height = 0.97 - 0.07 * (number % 4)
        place = axes.get_xaxis_transform()
        axes.text(at, height, f" {text}", transform=place, fontsize=8, va="top")


def stacked(
    frame: pd.DataFrame, x: str, y: str, by: str, *, title: str, xlabel: str, ylabel: str, marks: Marks = (),
    order: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """Stacked bars of ``y`` over dates ``x``, a colour for each value of ``by``. ``order``: of the values that are to
    have the same colours in every plot; else the largest comes first."""
    figure, axes = _new(title, xlabel, ylabel)
    table = _pivot(frame, x, y, by)
    if order and len(table):
        table = table.reindex(columns=[*order, *(name for name in table.columns if name not in order)], fill_value=0)
    width = pd.Series(table.index).diff().min() * 0.8 if len(table) > 1 else pd.Timedelta(hours=20)
    bottom = np.zeros(len(table))
    for number, name in enumerate(table.columns):
        axes.bar(
            table.index.to_numpy(),
            table[name],
            width.to_timedelta64(),
            bottom,
            label=name,
            color=COLOURS[number],
            hatch=HATCHES[number],
            edgecolor="white",
        )
        bottom += table[name].to_numpy()
    if len(table) <= MOST_DATES:
        axes.set_xticks(table.index.to_numpy(), [f"{at:%Y-%m-%d}" for at in table.index], rotation=30, ha="right")
    _mark(axes, marks)
    return _done(figure)


def lines(
    frame: pd.DataFrame, x: str, ys: Sequence[str], *, title: str, xlabel: str, ylabel: str, marks: Marks = (),
    top: float | None = None,
) -> Figure:  # fmt: skip
    """One line for each column of ``ys``, from 0 to ``top`` (the highest value if not given)."""
    figure, axes = _new(title, xlabel, ylabel)
    for number, name in enumerate(ys):
        every = max(1, len(frame) // 20)
        axes.plot(
            frame[x], frame[name], label=_label(name), color=COLOURS[number], marker=MARKERS[number], markevery=every
        )
    axes.set_ylim(0, top)
    _mark(axes, marks)
    return _done(figure)


def ranking(frame: pd.DataFrame, names: str, ys: Sequence[str], *, title: str, xlabel: str, ylabel: str) -> Figure:
    """Horizontal bars, the first row on top; side by side for each column of ``ys``."""
    figure, axes = _new(title, xlabel, ylabel, height=1.5 + 0.3 * max(len(frame), 3) * max(1, len(ys) / 1.5))
    at = np.arange(len(frame))
    thickness = 0.8 / len(ys)
    for number, name in enumerate(ys):
        axes.barh(
            at + number * thickness,
            frame[name],
            thickness,
            label=_label(name),
            color=COLOURS[number],
            hatch=HATCHES[number],
            edgecolor="white",
        )
    axes.set_yticks(at + 0.4 - thickness / 2, [_named(name) for name in frame[names]])
    axes.invert_yaxis()
    return _done(figure)


def shares(frame: pd.DataFrame, value: str, by: str, *, title: str, xlabel: str, ylabel: str) -> Figure:
    """For each value of ``by``: which share of the rows has at least so much of ``value`` (log scale)."""
    figure, axes = _new(title, xlabel, ylabel)
    for number, (name, rows) in enumerate(frame.groupby(by)):
        values = np.sort(rows[value].to_numpy())
        left = 1 - np.arange(len(values)) / max(len(values), 1)
        label = f"{_label(by) if name else f'not {_label(by)}'} ({len(values):,} accounts)"
        axes.step(
            values,
            left,
            where="pre",
            label=label,
            color=COLOURS[number],
            marker=MARKERS[number],
            markevery=max(1, len(values) // 20),
        )
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    return _done(figure)


def curves(
    frame: pd.DataFrame, x: str, ys: Sequence[str], *, title: str, xlabel: str, ylabel: str, chosen: float | None = None
) -> Figure:
    """Lines over a logarithmic x axis; ``chosen`` is marked."""
    figure, axes = _new(title, xlabel, ylabel)
    for number, name in enumerate(ys):
        axes.plot(frame[x], frame[name], label=_label(name), color=COLOURS[number], marker=MARKERS[number])
    if chosen is not None:
        axes.axvline(chosen, color="black", linestyle="--", label=f"suggested: {chosen:g}")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    return _done(figure)


def moments(frame: pd.DataFrame, *, title: str, xlabel: str, ylabel: str) -> Figure:
    """A time line (see ``incident.timeline``): a row for each kind, a dot for each minute, larger for more."""
    figure, axes = _new(title, xlabel, ylabel)
    kinds = list(dict.fromkeys(frame["kind"]))
    for number, kind in enumerate(kinds):
        rows = frame[frame["kind"] == kind]
        size = 20 + 12 * np.sqrt(rows["count"].to_numpy())
        colour = COLOURS[number % len(COLOURS)]
        axes.scatter(rows["time"], [number] * len(rows), s=size, label=kind, color=colour, marker=MARKERS[number])
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    return _done(figure)


def _label(name: str) -> str:
    return name.replace("_", " ")
