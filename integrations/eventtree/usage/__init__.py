"""Tokens and money of one event: provider JSON → `Usage`, `Usage` → `Cost`. Pure, and never on the app's thread.

normalise   what a handler recorded → Usage
infer       a tokenizer's count, where the model reported none (count_tokens counts one text or list of messages)
Pricer      Usage → Cost: given, reported, by table, by function, by genai-prices
"""

from __future__ import annotations

from eventtree.usage.normalize import normalise
from eventtree.usage.tokenizer import Tokenizer, count_tokens, infer

__all__ = ["Tokenizer", "count_tokens", "infer", "normalise"]
