"""The Python blocks of the README and the reference run, page by page, against a server that plays the vendors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eventtree.testing import VendorServer
from eventtree.vendors import vendor_class
from tests.reference import PAGES, ROOT

SURROUNDINGS = """
import eventtree
import eventtree.llama_index
from eventtree.langchain import CallbackHandler
from eventtree.testing import capture
from fastapi import FastAPI
from langchain_core.language_models import FakeListChatModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

class Documents(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return []

def answer(given):
    Documents().invoke(given["question"])
    return FakeListChatModel(responses=["42"]).invoke(given["question"]).content

class client:
    class chat:
        class completions:
            create = staticmethod(lambda **_: {"choices": [{"message": {"role": "assistant", "content": "42"}}]})

app = FastAPI()
message = {"question": "…"}
messages = [{"role": "user", "content": "…"}]
dataset = [{"id": "row-1", "question": "…", "answer": "42"}]
chain = RunnableLambda(answer)
handler = CallbackHandler(vendors=["honeyhive"])
with capture() as trees:
    chain.invoke({"question": "…"})
chain.invoke({"question": "…"}, config={"callbacks": [handler]})
with eventtree.example("row-1", experiment="base"):
    chain.invoke({"question": "…"}, config={"callbacks": [handler]})
"""
"""What a reader of the pages has: a chain with a retriever and a model in it, a handler, some trees; an app of FastAPI,
a message of a queue, a dataset, and the client of a provider.
"""
END = """
report = eventtree.flush(20)
assert report.waiting == 0 and report.failures == {}, report
"""


def blocks(page: Path) -> list[str]:
    """The Python of a page: its blocks, and the calls that stand in its tables."""
    text = page.read_text()
    calls = re.findall(r"^\|[^|]*\| `((?:with )?eventtree\.[^`]*[):])`", text, re.M)
    return [
        *re.findall(r"^```python\n(.*?)^```", text, re.M | re.S),
        *(f"{call} pass" if call.endswith(":") else call for call in calls),
    ]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_every_block_of_a_page_runs_and_its_requests_are_taken(page: Path, tmp_path: Path) -> None:
    with VendorServer() as server:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
        environment["EVENTTREE_JOURNAL"] = str(tmp_path)
        for kind in ("honeyhive", "braintrust"):
            for setting, value in server.settings(kind).items():
                environment[vendor_class(kind).env[setting][0]] = value
        script = "\n".join((SURROUNDINGS, *blocks(page), END))
        done = subprocess.run(
            [sys.executable, "-W", "error::UserWarning", "-c", script], env=environment, capture_output=True, text=True,
            timeout=300, check=False, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert server.events("honeyhive")
        assert not server.refused


def test_the_two_commands_of_the_readme_are_one_line_each() -> None:
    commands = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert [command.count("\n") for command in commands] == [1, 1]
    demo, tests = commands
    assert demo.endswith("&& .venv/bin/eventtree demo\n")
    assert "&& .venv/bin/pytest -n 2" in tests
