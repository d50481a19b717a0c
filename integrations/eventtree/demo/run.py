"""The demo from beginning to end: ask in three ways, deliver, store the requests, print the trees and sums."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from eventtree import session
from eventtree.delivery.report import Report
from eventtree.delivery.shipper import Shipper, shipper_of
from eventtree.demo import runs
from eventtree.demo.language import Passage, read_library
from eventtree.diagnostics import shown
from eventtree.errors import ConfigError
from eventtree.event import EventTree
from eventtree.journal import open_journal
from eventtree.langchain import CallbackHandler
from eventtree.llama_index import set_global_handler
from eventtree.query import Index
from eventtree.recording.session import Session
from eventtree.terminal import TreeView, console, report_view
from eventtree.testing import Received, VendorServer
from eventtree.vendors import Braintrust, HoneyHive, HumanloopV4, HumanloopV5, Nebuly, Vendor

PROJECT = "eventtree-demo"
OURS = ("EVENTTREE_", "LANGSMITH_", "LANGCHAIN_")
"""Prefixes of environment variables that would change the recording, or send it elsewhere too."""
SHOWN = ("honeyhive", "humanloop_v5", "humanloop_v4", "braintrust", "nebuly")
"""The vendors of the demo."""
KEPT_HEADERS = ("content-type", "user-agent")
USER = "demo-user"
SESSION = "demo-session"
DELIVERY_SECONDS = 60.0
PROVIDERS = frozenset({"openai", "httpx"})
"""Packages whose errors are a real model's."""
RECORDED: dict[str, Any] = {
    "tags": ("demo",), "environment": "demo", "release": "demo", "service": "demo",
    "enabled": True, "deliver": True, "content": True, "sample_rate": 1.0,
}  # fmt: skip
"""Settings of both handlers, whatever the environment says."""


class Answered(NamedTuple):
    """One of the three programs, with its answer and its trees."""

    title: str
    answer: str
    tree_ids: tuple[str, ...]


def run(question: str, *, model: str | None, folder: Path, journal: str, documents: str | Path | None) -> int:
    """Run the demo; the exit status."""
    models = runs.choose(model)
    library = read_library(documents)
    with quiet_environment(), runs.own_tokenizer(), VendorServer() as server:
        opened = open_journal(journal)
        shipper = shipper_of(opened)
        settings = {**RECORDED, "vendors": vendors_at(server), "journal": journal}
        try:
            answered = _ask(question, library, models, settings)
        except Exception as error:
            if not PROVIDERS.intersection(cls.__module__.partition(".")[0] for cls in type(error).__mro__):
                raise
            # Without the provider's own words: they may quote the key.
            hint = "Check the name, the key and the network, or leave --model out"
            raise ConfigError("--model", f"{model} failed with {type(error).__name__}", hint) from error
        finally:
            report = _own(shipper.flush(DELIVERY_SECONDS), shipper)
            shipper.stop()
        write_requests(server, folder / "requests")
        with Index(opened) as index:
            trees = [[tree for each in one.tree_ids if (tree := index.tree(each)) is not None] for one in answered]
    return _print(question, answered, trees, report, server, folder)


def _ask(question: str, library: list[Passage], models: runs.Models, settings: dict[str, Any]) -> list[Answered]:
    """Run the three programs, recorded with `settings`."""
    handler = CallbackHandler(**settings)
    engine = runs.query_engine(library, models)  # before recording begins: filling the index is not part of the demo
    with session(SESSION, user=USER) as current:
        answered = [
            _note("LangChain chain", current, lambda: runs.ask_chain(question, library, models, handler)),
            _note("LangGraph agent", current, lambda: runs.ask_agent(question, library, models, handler)),
        ]
        set_global_handler(**settings)
        try:
            answered.append(_note("LlamaIndex query engine", current, lambda: runs.ask_query_engine(question, engine)))
        finally:
            set_global_handler(None)
    return answered


def _note(title: str, current: Session, ask: Callable[[], str]) -> Answered:
    before = len(current.tree_ids)
    answer = ask()
    return Answered(title, answer, tuple(current.tree_ids[before:]))


def _own(report: Report, shipper: Shipper) -> Report:
    """The report of this run's vendors only: the folder may hold earlier runs, whose server is gone."""
    own = set(shipper.consumers)
    vendors = {sums.name: sums for sums in report.vendors.values() if f"{sums.name}.{sums.fingerprint}" in own}
    return report.model_copy(update={"vendors": vendors})


def _print(
    question: str,
    answered: list[Answered],
    trees: list[list[EventTree]],
    report: Report,
    server: VendorServer,
    folder: Path,
) -> int:
    out = console()
    _line(out, Text.assemble(("question  ", "dim"), (shown(question), "bold")))
    for one, grown in zip(answered, trees, strict=True):
        _line(out, Text.assemble("\n", (one.title, "bold underline"), "\n", ("answer  ", "dim"), shown(one.answer)))
        for tree in grown:
            out.print(TreeView(tree, contents="none"))
    out.print(report_view(report, counts(server)))
    out.print(Text(f"\nrequests  {folder / 'requests'}\njournal   {report.journal}"), soft_wrap=True)
    if all(trees) and _arrived(report, server):
        _line(out, Text(f"All {len(SHOWN)} vendors have everything: nothing waits, nothing was refused.", "green"))
        return 0
    _line(out, Text("Not everything arrived: see the sums above and the requests.", "bold red"))
    return 1


def _arrived(report: Report, server: VendorServer) -> bool:
    """Whether every vendor got all events it should get, and at least one."""
    complete = report.vendors.keys() == set(SHOWN) and all(server.event_ids(kind) for kind in SHOWN)
    return complete and report.settled and not server.refused


def _line(out: Console, text: Text) -> None:
    """Print a line, wrapped in a terminal, unwrapped in a pipe."""
    out.print(text, soft_wrap=not out.is_terminal)


@contextmanager
def quiet_environment() -> Iterator[None]:
    """Remove our settings and other tracers' from the environment while the block runs."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(OURS)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def vendors_at(server: VendorServer) -> tuple[Vendor, ...]:
    """All five vendors, with every setting, so that none is taken from the environment."""
    at: dict[str, dict[str, Any]] = {kind: dict(server.settings(kind)) for kind in SHOWN}
    return (
        HoneyHive(project=PROJECT, source="demo", **at["honeyhive"]),
        HumanloopV5(project=PROJECT, **at["humanloop_v5"]),
        HumanloopV4(project=PROJECT, **at["humanloop_v4"]),
        Braintrust(project=PROJECT, project_id="", org_name="", **at["braintrust"]),
        Nebuly(**at["nebuly"]),
    )


def write_requests(server: VendorServer, folder: Path) -> None:
    """One JSON file for each vendor: its requests in order of arrival, without keys."""
    folder.mkdir(parents=True, exist_ok=True)
    for vendor in {received.vendor for received in server.requests}:
        requests = [_plain(received) for received in server.requests if received.vendor == vendor]
        text = json.dumps(requests, ensure_ascii=False, indent=2)
        (folder / f"{vendor or 'unknown'}.json").write_text(f"{text}\n", encoding="utf-8")


def counts(server: VendorServer) -> dict[str, tuple[int, int]]:
    """Vendor → requests the server took, requests it refused."""
    refused = Counter(received.vendor for received in server.requests if received.problem)
    sent = Counter(received.vendor for received in server.requests)
    return {vendor: (count - refused[vendor], refused[vendor]) for vendor, count in sent.items()}


def _plain(received: Received) -> dict[str, Any]:
    body = received.body
    return {
        "method": received.method,
        "path": received.path,
        "headers": {name: received.headers[name] for name in KEPT_HEADERS if name in received.headers},
        "body": body.decode(errors="replace") if isinstance(body, bytes) else body,
        "answered": received.status,
        "refused": received.problem,
    }
