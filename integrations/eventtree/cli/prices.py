"""`eventtree prices MODEL`: the prices of a model, and where they come from."""

from __future__ import annotations

import click

from eventtree import config
from eventtree.cli.main import main, say
from eventtree.pricing.pricer import Explanation, PriceLine, Pricer


@main.command("prices")
@click.argument("model")
@click.option(
    "--provider", metavar="NAME", help="Name the provider as the framework does: openai, anthropic, azure, bedrock."
)
@click.option("--base-url", metavar="URL", help="Give the address of the service. It counts more than --provider.")
def prices(model: str, provider: str | None, base_url: str | None) -> int:
    """Show the prices of MODEL and where they come from. The exit status is 1 if no price is known."""
    found = Pricer.of(config.resolve().prices).explain(model, provider, base_url=base_url)
    if found.source is None:
        say(f"{model}: no price is known ({'; '.join(found.why)}). The cost of its calls stays unknown.", err=True)
        return 1
    say(f"{model}: charged as {found.charged_as}, by {found.source}")
    for line in _lines(found):
        say(line)
    for reason in found.why:
        say(f"- {reason}")
    return 0


def _lines(found: Explanation) -> list[str]:
    names = [_name(line) for line in found.lines]
    prices = [f"${line.usd.normalize():f}" for line in found.lines]
    wide, high = max(map(len, names), default=0), max(map(len, prices), default=0)
    return [
        f"  {name:<{wide}}  {price:>{high}} / {line.per}"
        for name, price, line in zip(names, prices, found.lines, strict=True)
    ]


def _name(line: PriceLine) -> str:
    words = line.name.replace("_", " ")
    return words if line.above is None else f"{words}, above {line.above:,} tokens of input"
