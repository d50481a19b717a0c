"""`eventtree prices MODEL`: what a call of a model would be charged, and why."""

from __future__ import annotations

from eventtree import config
from eventtree.cli.say import say
from eventtree.pricing import Explanation, PriceLine, Pricer


def show_prices(model: str, provider: str | None, base_url: str | None) -> int:
    """Print the prices and the steps that led to them; exit status 1 where none are known.

    Raises:
        ConfigError: the user's table is wrong.
    """
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
