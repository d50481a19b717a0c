"""Every notebook of the cookbook runs from a clean kernel and shows a tree.

`python tests/test_notebooks.py --update` runs them and stores their outputs.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

COOKBOOK = Path(__file__).parents[1] / "cookbook"
NOTEBOOKS = sorted(COOKBOOK.glob("*.ipynb"))
TIMEOUT = 180
TREE = re.compile(r"^tree \S+.*\n *event +status +tokens.*\n(chain|agent|model|tool|retriever) .* ok ", re.M)
"""A tree as `eventtree show` draws it."""
PICTURE = re.compile(r"<table .*position:absolute;left:.*tokens, (at least )?(\$[\d.]+|unknown)", re.S)
"""A tree as a notebook draws it: a waterfall, and its sums."""
REAL = re.compile(r"# or (ChatOpenAI|OpenAI)\(")
"""How a provider's model takes the place of the one that stands in."""
OURS = ("EVENTTREE_", "HH_", "HONEYHIVE_", "HUMANLOOP_", "BRAINTRUST_", "NEBULY_", "LANGSMITH_", "LANGCHAIN_")


def execute(path: Path, journal: Path) -> nbformat.NotebookNode:
    """Run a notebook in a kernel of its own, which records in `journal`."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": journal}}
    client = NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources=place, coalesce_streams=True)
    with environment({"EVENTTREE_JOURNAL": str(journal), "XDG_CACHE_HOME": str(journal / ".cache")}):
        client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran: new each time
        for output in cell.get("outputs", ()):
            if "text" in output:
                output.text = sanitize(output.text)
    return notebook


def sanitize(text: str) -> str:
    """What a terminal shows, without colours and the spaces at the ends of lines."""
    return "".join(f"{line.rstrip()}\n" for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines())


@contextmanager
def environment(ours: Mapping[str, str]) -> Iterator[None]:
    """Let kernels inherit `ours`, this Python's commands, and no other setting of ours."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(OURS)]:
        del os.environ[name]
    os.environ.update(ours, PATH=os.pathsep.join((str(Path(sys.executable).parent), before.get("PATH", ""))))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """What each code cell prints and returns: a kernel may cut what is printed into several outputs."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(text_of(output) for output in cell.outputs) for cell in cells]


def pictures(notebook: nbformat.NotebookNode) -> list[str]:
    """What is drawn in HTML."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]


def text_of(output: nbformat.NotebookNode) -> str:
    """The text of one output."""
    return str(output.get("text", "") or output.get("data", {}).get("text/plain", ""))


def errors(notebook: nbformat.NotebookNode) -> list[str]:
    """The names of errors, and what went to stderr."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    raised = [output.ename for output in outputs if output.output_type == "error"]
    return raised + [output.text for output in outputs if output.get("name") == "stderr"]


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS][:1] == ["01_quickstart.ipynb"]
    assert len(NOTEBOOKS) >= 9


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_a_clean_kernel_and_shows_a_tree(path: Path, tmp_path: Path) -> None:
    notebook = execute(path, tmp_path)
    assert errors(notebook) == []
    assert any(TREE.search(text) for text in texts(notebook))
    assert any(PICTURE.search(html) for html in pictures(notebook))
    assert not any("<script" in html for html in pictures(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_where_a_real_model_takes_the_place(path: Path) -> None:
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert any(REAL.search(source) for source in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_uses_public_names_alone(path: Path) -> None:
    """And the demo's models, which stand in for those of a provider."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    imported = re.findall(r"^ *(?:from (eventtree[\w.]*) import (.+)|import (eventtree[\w.]*))", "\n".join(cells), re.M)
    assert imported
    for source, names, module in imported:
        if not source.startswith("eventtree.demo."):
            public = importlib.import_module(source or module).__all__
            assert [name for name in names.split(", ") if name and name not in public] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_stored_outputs_show_a_tree_and_no_error(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert errors(notebook) == []
    assert any(TREE.search(text) for text in texts(notebook))
    assert any(PICTURE.search(html) for html in pictures(notebook))
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert path.stat().st_size < 100_000


def update(chosen: list[str]) -> None:
    """Run notebooks, all or those whose names begin so, and store their outputs."""
    for path in NOTEBOOKS:
        if chosen and not path.name.startswith(tuple(chosen)):
            continue
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(execute(path, Path(folder)), path)
        print(f"updated {path.name}")


if __name__ == "__main__":
    if sys.argv[1:2] != ["--update"]:
        sys.exit("usage: python tests/test_notebooks.py --update [01 …]")
    update(sys.argv[2:])
