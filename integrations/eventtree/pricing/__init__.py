"""Money of one event: `Usage` → `Cost`, as given, as the provider stated, by table, by function, by genai-prices."""

from __future__ import annotations

from eventtree.pricing.pricer import Explanation, PriceFunction, PriceLine, Pricer

__all__ = ["Explanation", "PriceFunction", "PriceLine", "Pricer"]
