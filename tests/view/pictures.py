"""The pictures in README and reference: `python -m tests.view.pictures` makes them anew, of real trees.

The demo's chain, agent and query; a LangGraph agent that fails, one that is interrupted and resumed; a dead letter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from PIL import Image

import eventtree
from eventtree.delivery.shipper import all_shippers
from eventtree.journal import Journal, open_journal
from eventtree.langchain import CallbackHandler
from eventtree.query import Index
from eventtree.testing import Answer, VendorServer
from eventtree.tree.filter import Filter
from eventtree.vendors import Braintrust
from tests.view.browser import chromium, watched

IMAGES = Path(__file__).parents[2] / "cookbook" / "reference" / "images"
SIZE = {"width": 1320, "height": 640}
MODEL = "model"

Views = tuple[tuple[str, str, str, str], ...]
VIEWS: Views = (
    ("chain", "name:chain", "model", "light"),
    ("agent", "name:librarian", "model", "light"),
    ("agent-dark", "name:librarian", "model", "dark"),
    ("query", "name:RetrieverQueryEngine.query", "retriever", "light"),
    ("failure-dark", "status:error", "error", "dark"),
    ("interrupted", "status:interrupted", "", "light"),
    ("dead-letter", "name:refund -status:error", "", "light"),
)
"""File, the tree it shows by the words of the filter, which of its events is chosen, colours."""


@tool
def charge(customer: str, usd: float) -> str:
    """Charge a customer."""
    if customer == "c-404":
        raise LookupError(f"no customer {customer}: the account was closed on 2026-10-01")
    return f"charged {customer} ${usd:.2f}"


class Order(TypedDict):
    """The state of the graph."""

    customer: str
    usd: float
    said: str


def plan(state: Order) -> dict[str, str]:
    return {"said": f"charge {state['customer']} ${state['usd']:.2f}"}


def ask(state: Order) -> dict[str, str]:
    if state["usd"] > 100:
        return {"said": str(interrupt({"question": f"Charge {state['customer']} ${state['usd']:.2f}?"}))}
    return {}


def pay(state: Order, config: RunnableConfig) -> dict[str, str]:
    return {"said": charge.invoke({"customer": state["customer"], "usd": state["usd"]}, config)}


def record(folder: Path) -> None:
    """Every tree that is shown."""
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("EVENTTREE_")}
    subprocess.run(
        [sys.executable, "-m", "eventtree", "demo", "--journal", str(folder)],
        env=quiet,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    steps: Any = StateGraph(Order)
    for name, step in (("plan", plan), ("ask", ask), ("pay", pay)):
        steps.add_node(name, step)
    for before, after in ((START, "plan"), ("plan", "ask"), ("ask", "pay"), ("pay", END)):
        steps.add_edge(before, after)
    graph: Any = steps.compile(checkpointer=InMemorySaver(), name="checkout")

    def run(handler: CallbackHandler, given: Any, thread: str, name: str = "checkout") -> None:
        config = {"callbacks": [handler], "configurable": {"thread_id": thread}, "run_name": name}
        try:
            graph.invoke(given, config=config)
        except LookupError:
            pass

    local = CallbackHandler(vendors=(), journal=str(folder))
    run(local, Order(customer="c-404", usd=20.0, said=""), "order-1")
    run(local, Order(customer="c-7", usd=250.0, said=""), "order-2")
    run(local, Command(resume="yes"), "order-2")
    with VendorServer() as server:
        vendor = Braintrust(**{**server.settings("braintrust"), "project": "shop"})
        words = {"error": {"message": "metadata.customer: value is not allowed here", "code": "invalid_row"}}
        server.script("braintrust", [200, *[Answer(status=400, body=words)] * 100])
        run(
            CallbackHandler(vendors=[vendor], journal=str(folder)),
            Order(customer="c-9", usd=12.5, said=""),
            "order-3",
            "refund",
        )
        eventtree.flush(10)
        for shipper in all_shippers():
            shipper.stop()


def draw(browser: Any, journal: Journal, view: tuple[str, str, str, str]) -> None:
    """One picture."""
    file, words, event, scheme = view
    with Index(journal) as index:
        tree = index.search(Filter.parse(words), limit=1).rows[0]
    with watched(browser, journal, color_scheme=scheme, viewport=SIZE) as one:
        page = one.open(f"#tree={tree.id}")
        page.locator(".event").first.wait_for()
        if event:
            # The deepest that failed is where it happened; of models the last knows most.
            failed = page.locator(".event", has=page.locator(".status.error"))
            (failed if event == "error" else page.locator(f".event.{event}")).last.click()
            page.locator(".inside section").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.locator(".inside").evaluate("box => { document.activeElement?.blur() }")
        # Few colours are plenty; the rare ones, of a failure or a mark, must be among them.
        picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
        few = picture.quantize(128, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(IMAGES / f"{file}.png", optimize=True)


def main() -> None:
    """Record, and draw."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        record(Path(folder) / "journal")
        with chromium() as browser:
            for view in VIEWS:
                draw(browser, open_journal(f"{folder}/journal"), view)


if __name__ == "__main__":
    main()
