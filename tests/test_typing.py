"""All Python of the README, the reference and the notebooks passes mypy, strictly, and pyright, as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import pytest

from tests.reference import PAGES, ROOT
from tests.test_notebooks import NOTEBOOKS

SURROUNDINGS = """
from typing import cast

import eventtree
import eventtree.langchain
import eventtree.llama_index
from eventtree import EventTree
from eventtree.langchain import CallbackHandler
from eventtree.testing import Captured, VendorServer, capture
from eventtree.vendors import Braintrust, HoneyHive, HumanloopV4, HumanloopV5, Nebuly
from langchain_core.runnables import Runnable
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam
from starlette.applications import Starlette

chain = cast("Runnable[dict[str, str] | str, str]", None)
handler = cast(CallbackHandler, None)
trees = cast(Captured, None)
dataset = cast("list[dict[str, str]]", None)
message = cast("dict[str, str]", None)
messages = cast("list[ChatCompletionMessageParam]", None)
app = cast(Starlette, None)
client = cast(OpenAI, None)
"""
"""What a reader of a page has."""
CONFIG, CACHE = ROOT / "pyproject.toml", ROOT / ".mypy_cache"
MYPY = (sys.executable, "-m", "mypy", "--strict", "--config-file", CONFIG, "--cache-dir", CACHE)
"""With the project's own cache: what all import is read once, which takes half a minute."""
READ_FIRST = (
    "pydantic", "openai.types.responses", "langchain_core.runnables", "langchain_openai",
    "langchain.agents, langgraph.graph", "sqlalchemy", "llama_index.core", "eventtree.langchain, eventtree.llama_index",
)  # fmt: skip
"""Read into the cache one after the other: all at once take most of a gigabyte."""


def blocks_of(page: Path) -> list[str]:
    """The Python of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)


def code_of(notebook: Path) -> str:
    """A notebook as Python: what a shell does is left out, what awaits stands in a coroutine, and values are shown."""
    cells = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    code = re.sub(r"^( *)[!%].*$", r"\1pass", "\n\n".join(cells), flags=re.M)
    code = re.sub(r"^( *\w+ = )!.*$", r"\1['']", code, flags=re.M)
    if re.search(r"^(async |await |\w+ = await )", code, re.M):
        code = f"async def notebook() -> None:\n{textwrap.indent(code, '    ')}"
    return f"# pyright: reportUnusedExpression=false\n{code}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages as files, checked together: that takes as long as one."""
    found = tmp_path_factory.mktemp("pages")
    for page in PAGES:
        if blocks_of(page):
            (found / f"page_{page.stem.lower()}.py").write_text("\n".join((SURROUNDINGS, *blocks_of(page))))
    for notebook in NOTEBOOKS:
        (found / f"notebook_{notebook.stem}.py").write_text(code_of(notebook))
    assert len(list(found.iterdir())) >= 8 + len(NOTEBOOKS)
    for number, names in enumerate(READ_FIRST):
        (found / f"first{number}.py").write_text(f"import {names}\n")
        checked(*MYPY, f"first{number}.py", cwd=found)
    return found


def checked(*command: str | Path, cwd: Path) -> str:
    environment = {**os.environ, "MYPYPATH": str(ROOT / "integrations")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.fixture(scope="module")
def pyright(folder: Path) -> str:
    """What it says of the pages, and of settings that are wrong. In a few runs: one takes more than half a gigabyte.

    Its own package comes from npm, the first time; where that cannot be had, mypy has to do.
    """
    command = [sys.executable, "-m", "pyright"]
    if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("pyright's npm package cannot be fetched here")
    (folder / "wrong.py").write_text(WRONG_CODE)
    (folder / "watched.py").write_text(OBSERVED_CODE)
    pages, notebooks = sorted(folder.glob("[pw]*.py")), sorted(folder.glob("notebook_*.py"))
    half = len(notebooks) // 2
    return "".join(
        checked(*command, "--pythonpath", sys.executable, *some, cwd=folder)
        for some in (pages, notebooks[:half], notebooks[half:])
    )


def test_mypy_has_nothing_against_the_examples(folder: Path) -> None:
    files = sorted(path.name for path in folder.glob("*_*.py"))
    assert checked(*MYPY, "--no-error-summary", *files, cwd=folder) == ""


def test_pyright_has_nothing_against_the_examples(pyright: str) -> None:
    assert re.findall(r"^.*/(?:page|notebook)_\w+\.py:.* - error: .*$", pyright, re.M) == []


OBSERVED = """
from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import eventtree
from eventtree.own.span import Span

@eventtree.observe
def plain(a: int, *, b: str = "") -> list[int]:
    return [a, len(b)]

@eventtree.observe(name="ask", kind="tool", inputs=["a"], outputs=False)
async def coroutine(a: int) -> bytes:
    return bytes(a)

@eventtree.observe
def generator(a: int) -> Iterator[str]:
    yield str(a)

@eventtree.observe(kind="model")
async def stream(a: int) -> AsyncIterator[float]:
    yield a / 2

class Agent:
    @eventtree.observe
    def method(self, a: int) -> "Agent":
        return self

    @eventtree.observe
    @classmethod
    def made(cls, a: int) -> "Agent":
        return cls()

    @staticmethod
    @eventtree.observe(kind="retriever")
    def alone(a: int) -> str:
        return str(a)

assert_type(plain(1, b="x"), list[int])
assert_type(generator(1), Iterator[str])
assert_type(stream(1), AsyncIterator[float])
assert_type(Agent().method(1), Agent)
assert_type(Agent.made(1), Agent)
assert_type(Agent.alone(1), str)
assert_type(eventtree.observe(len)([1]), int)
with eventtree.span("plan", kind="tool", inputs={"a": 1}) as s:
    assert_type(s, Span)
    assert_type(s.id, str | None)

async def awaits() -> None:
    assert_type(await coroutine(1), bytes)
    async with eventtree.span("plan") as s:
        assert_type(s, Span)

assert_type(eventtree.headers(), dict[str, str])
"""
MISUSED = ("plain('1')", "plain(1, c=2)", "stream()", "Agent().method('x')", "eventtree.observe(plain, kind='tool')")
"""Each is an error of types, since an observed function has the signature it had."""
OBSERVED_CODE = "\n".join((OBSERVED, *MISUSED))
MISUSED_LINES = range(OBSERVED.count("\n") + 2, OBSERVED.count("\n") + 2 + len(MISUSED))


def test_an_observed_function_keeps_its_signature(tmp_path: Path) -> None:
    (tmp_path / "observed.py").write_text(OBSERVED_CODE)
    said = checked(*MYPY, "observed.py", cwd=tmp_path)
    assert {int(line) for line in re.findall(r"^observed\.py:(\d+): error", said, re.M)} == {*MISUSED_LINES}, said


def test_so_it_does_for_pyright(pyright: str) -> None:
    assert {int(line) for line in re.findall(r"watched\.py:(\d+):\d+ - error", pyright)} == {*MISUSED_LINES}, pyright


WRONG = {
    "CallbackHandler(conten=False)": "conten",
    "CallbackHandler(sample_rate='often')": "sample_rate",
    "HoneyHive(projct='p')": "projct",
    "Braintrust(api_key=3)": "api_key",
    "eventtree.configure(vendor=['a'])": "vendor",
    "eventtree.langchain.set_global_handler(handler, vendors=[])": "set_global_handler",
    "eventtree.llama_index.set_global_handler(tag=['a'])": "set_global_handler",
}


WRONG_CODE = "\n".join((SURROUNDINGS, *WRONG))


def test_both_name_a_misspelt_setting(tmp_path: Path, pyright: str) -> None:
    (tmp_path / "wrong.py").write_text(WRONG_CODE)
    by_mypy = checked(*MYPY, "wrong.py", cwd=tmp_path)
    first = SURROUNDINGS.count("\n") + 2
    for line, words in enumerate(WRONG.values(), first):
        assert words in "".join(re.findall(rf"^wrong\.py:{line}: .*$", by_mypy, re.M)), (line, by_mypy)
        assert re.findall(rf"wrong\.py:{line}:\d+ - error: ", pyright), (line, pyright)
