"""Executes every notebook and writes it as HTML: ``python notebooks/render.py [--into FOLDER] [NOTEBOOK…]``.

Without ``SEKIMORI_ANALYSIS`` and ``SEKIMORI_CLICKHOUSE`` they look at the bundled sample. Exits with 1 if one fails.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

from pipeline.adapters.stores.analysis import fill_with_sample
from pipeline.adapters.stores.chdb_store import ChdbStore
from pipeline.analysis.sample import ZONE

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
CELL_SECONDS = 3600  # limits from millions of events take their time


@click.command()
@click.argument("names", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), default=ROOT / "var" / "notebooks")
def main(names: tuple[Path, ...], into: Path) -> None:
    """Executes notebooks (all of them if none is given) and writes HTML."""
    into.mkdir(parents=True, exist_ok=True)
    failed = False
    with _data():
        for path in names or sorted(FOLDER.glob("*.ipynb")):
            try:
                written = render(path, into)
            except CellExecutionError as error:
                failed = True
                click.echo(f"{path.name}: {error}", err=True)
            else:
                click.echo(written)
    sys.exit(int(failed))


def render(path: Path, into: Path) -> Path:
    """Executes one; raises CellExecutionError. Returns the HTML file."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # nbformat says nothing of types
    quiet = ["--log-level=ERROR"]
    resources = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=CELL_SECONDS, resources=resources, extra_arguments=quiet).execute()
    written = into / f"{path.stem}.html"
    html, _ = HTMLExporter(exclude_input_prompt=True, exclude_output_prompt=True).from_notebook_node(notebook)
    written.write_text(html, encoding="utf-8")
    return written


@contextmanager
def _data() -> Iterator[None]:
    """The environment of the kernels: the sample, made once, if nothing else was chosen."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    if os.environ.get("SEKIMORI_ANALYSIS") or os.environ.get("SEKIMORI_CLICKHOUSE"):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="sekimori-sample-") as folder:
        with ChdbStore(Path(folder)) as store:
            fill_with_sample(store)
        os.environ |= {"SEKIMORI_ANALYSIS": folder, "SEKIMORI_ZONE": ZONE.key}
        yield


if __name__ == "__main__":
    main()
