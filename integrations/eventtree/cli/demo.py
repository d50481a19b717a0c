"""`eventtree demo`: everything eventtree does, on this machine alone."""

from __future__ import annotations

import click

from eventtree.cli.main import main, say


@main.command("demo")
@click.argument("question", default="What happens to my events while a vendor is down?")
@click.option(
    "--model", metavar="openai:NAME", help="Use a real model instead of the built-in one. Its key is OPENAI_API_KEY."
)
@click.option("--out", metavar="DIR", help="Put the journal and the requests there instead of a new temporary folder.")
@click.option("--journal", metavar="DIR", help="Put the journal there instead.")
def demo(question: str, model: str | None, out: str | None, journal: str | None) -> int:
    """Run a LangChain chain, a LangGraph agent and a LlamaIndex query, and send their trees to five vendors.

    The vendors are played by a server on this machine, and no key is needed.
    """
    say("Running a chain, an agent and a query, for five vendors on this machine …")
    from eventtree.demo import run_demo

    return run_demo(question, model=model, out=out, journal=journal)
