"""Money of one event: `Usage` → `Cost`, as given, as the provider stated, by table, by function, by genai-prices."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventtree.pricing.pricer import Explanation, PriceFunction, PriceLine, Pricer

__all__ = ["Explanation", "PriceFunction", "PriceLine", "Pricer"]


def __getattr__(name: str) -> Any:
    # Late: recording needs a file of this folder, and none of these.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("eventtree.pricing.pricer"), name)
