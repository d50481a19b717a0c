"""`eventtree demo`: a LangChain chain, a LangGraph agent and a LlamaIndex query, as trees, at five vendors.

Nothing leaves the machine: the models are deterministic and in process, the vendors are played by
`eventtree.testing.VendorServer`. With `--model openai:NAME` a real model answers instead.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path

from eventtree.errors import ConfigError
from eventtree.journal import open_journal

__all__ = ["run_demo"]

NEEDED = ("langchain", "langchain_core", "langgraph", "llama_index.core", "numpy", "werkzeug")
KEY = "OPENAI_API_KEY"


def run_demo(
    question: str,
    *,
    model: str | None,
    out: str | None,
    journal: str | None = None,
    documents: str | Path | None = None,
) -> int:
    """Ask `question` in three ways and print what arrived where.

    Args:
        question: what to ask; the answers are looked up in the documents.
        model: None for the built-in one, or `openai:NAME`, with its key in the environment.
        out: folder for the journal and the requests; None makes a temporary one.
        journal: another folder for the journal.
        documents: folder of `*.md` files to answer from; None takes those that ship with the package.

    Returns:
        The exit status: 0 if every vendor's sums add up with nothing waiting or refused.

    Raises:
        ConfigError: the question is empty, a package or a key is missing, or a folder cannot be used.
        JournalError: the journal's folder cannot be used.
    """
    if not question.strip():
        raise ConfigError("question", "it is empty", 'Ask something: eventtree demo "What is the journal?"')
    _check(model)
    folder = _folder(out)
    journal = journal or str(folder / "journal")
    open_journal(journal)  # now, so that an error comes before the slow import of the frameworks
    for package in NEEDED:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            hint = "Run pip install 'eventtree[all]'"
            raise ConfigError("demo", f"{package} is not installed", hint) from error
    run = importlib.import_module("eventtree.demo.run")  # only now: it imports both frameworks
    status: int = run.run(question, model=model, folder=folder, journal=journal, documents=documents)
    return status


def _check(model: str | None) -> None:
    provider, _, name = (model or "openai:").partition(":")
    if provider != "openai" or (model and not name):
        hint = "Give openai:NAME, such as openai:gpt-4o-mini, or leave it out for the built-in model"
        raise ConfigError("--model", f"{model!r} is not known", hint)
    if name and not os.environ.get(KEY):
        hint = f"Set {KEY}, or leave --model out: the built-in model needs no key"
        raise ConfigError("--model", f"{KEY} is not set", hint)


def _folder(out: str | None) -> Path:
    try:
        folder = Path(out or tempfile.mkdtemp(prefix="eventtree-demo-")).expanduser().absolute()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "Name a folder that can be written: --out DIR"
        raise ConfigError("--out", f"{out} cannot be used ({error.strerror})", hint) from error
    return folder
