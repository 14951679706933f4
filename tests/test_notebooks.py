"""Notebooks: stripped in git, only calling and plotting, and every one of them runs. Plots: readable by people."""

import ast
import os
import subprocess
import sys
import warnings
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pipeline.analysis import plots
from pipeline.analysis.plots import UnlabelledPlotError, checked
from tests.support.servers import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
LABELS = {"title": "踏み台アカウント", "xlabel": "日", "ylabel": "アカウント数"}
DAYS = pd.DataFrame(
    {
        "day": pd.to_datetime(["2026-11-02", "2026-11-02", "2026-11-03"]),
        "n": [3, 1, 2],
        "m": [1, 1, 4],
        "who": ["関守", "", "b"],
        "bad": [True, False, False],
    }
)


def code_of(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    lines = [line for cell in cells if cell.cell_type == "code" for line in cell.source.splitlines()]
    return "\n".join(line for line in lines if not line.startswith("%"))


def test_there_are_notebooks() -> None:
    assert [path.stem[0] for path in NOTEBOOKS] == list("abcdefg")


@each
def test_outputs_are_stripped(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@each
def test_it_only_calls_and_plots(path: Path) -> None:
    """Queries live in pipeline.analysis, limits are those of ``suggest``, and plots are drawn by what checks their
    labels."""
    tree = ast.parse(code_of(path))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    suggest = {"pipeline.adapters.trials.suggest"} if path.stem == "d_thresholds" else set()
    assert modules == {"pipeline.adapters.stores.analysis", "pipeline.analysis", *suggest}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef)]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert "SELECT" not in code_of(path)


@pytest.mark.servers
def test_every_notebook_runs(tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEKIMORI_")} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "notebooks" / "render.py"), "--into", str(tmp_path)]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900, check=False)
    assert run.returncode == 0, run.stderr
    for path in NOTEBOOKS:
        html = (tmp_path / f"{path.stem}.html").read_text()
        assert html.count("data:image/png") >= code_of(path).count("plots.") - 1
        assert "Warning" not in html


@pytest.mark.servers
def test_a_notebook_that_fails_is_told(tmp_path: Path) -> None:
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(broken, tmp_path / "broken.ipynb")
    command = [
        sys.executable,
        str(ROOT / "notebooks" / "render.py"),
        "--into",
        str(tmp_path),
        tmp_path / "broken.ipynb",
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT), "SEKIMORI_ANALYSIS": str(tmp_path)}
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 1
    assert "ZeroDivisionError" in run.stderr


def drawn() -> list[Figure]:
    marks = [(pd.Timestamp("2026-11-03"), "しきい値 20 → 10")]
    return [
        plots.stacked(DAYS, "day", "n", "who", marks=marks, **LABELS),
        plots.lines(DAYS, "day", ["n", "m"], marks=marks, **LABELS),
        plots.ranking(DAYS, "who", ["n", "m"], **LABELS),
        plots.shares(DAYS, "n", "bad", **LABELS),
        plots.curves(DAYS, "n", ["m", "n"], chosen=2, **LABELS),
        plots.moments(DAYS.rename(columns={"day": "time", "who": "kind", "n": "count"}), **LABELS),
    ]


def test_japanese_is_drawn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph is a warning
        for number, figure in enumerate(drawn()):
            figure.savefig(tmp_path / f"{number}.png")
            assert (tmp_path / f"{number}.png").stat().st_size > 5_000


def test_plots_of_several_series_have_legends() -> None:
    assert all(figure.axes[0].get_legend() is not None for figure in drawn())


@pytest.mark.parametrize("missing", ["title", "xlabel", "ylabel"])
def test_a_plot_without_labels_is_refused(missing: str) -> None:
    with pytest.raises(UnlabelledPlotError):
        plots.lines(DAYS, "day", ["n"], **LABELS | {missing: " "})


def test_several_series_without_a_legend_are_refused() -> None:
    figure = plots.lines(DAYS, "day", ["n", "m"], **LABELS)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    legend.remove()
    with pytest.raises(UnlabelledPlotError, match="no legend"):
        checked(figure)


def test_series_keep_their_colours_in_every_plot() -> None:
    for days in (DAYS, DAYS.assign(n=[1, 9, 9]), DAYS[:1], DAYS[:0]):
        figure = plots.stacked(days, "day", "n", "who", order=["b", "関守"], **LABELS)
        handles, names = figure.axes[0].get_legend_handles_labels()
        assert names == [*(["b", "関守"] if len(days) else []), *(["unknown"] if len(days) > 1 else [])]
        assert [to_hex(handle[0].get_facecolor()).upper() for handle in handles] == list(plots.COLOURS[: len(names)])


def test_an_axis_ends_where_it_is_told() -> None:
    assert plots.lines(DAYS, "day", ["n"], top=50, **LABELS).axes[0].get_ylim() == (0, 50)


def test_many_series_become_others() -> None:
    many = pd.DataFrame({"day": [pd.Timestamp("2026-11-02")] * 12, "n": range(12), "who": [f"c{n}" for n in range(12)]})
    legend = plots.stacked(many, "day", "n", "who", **LABELS).axes[0].get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == 8
    assert names[-1] == "others"
