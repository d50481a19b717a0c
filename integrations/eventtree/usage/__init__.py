"""Tokens and money of one event: provider JSON → `Usage`, `Usage` → `Cost`. Pure, and never on the app's thread.

normalise   what a handler recorded → Usage
infer       a tokenizer's count, where the model reported none (count_tokens counts one text or list of messages)
Pricer      Usage → Cost: given, reported, by table, by function, by genai-prices
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventtree.usage.normalize import normalise
    from eventtree.usage.tokenizer import Tokenizer, count_tokens, infer

__all__ = ["Tokenizer", "count_tokens", "infer", "normalise"]

_HOMES = {
    "Tokenizer": "tokenizer",
    "count_tokens": "tokenizer",
    "infer": "tokenizer",
    "normalise": "normalize",
}


def __getattr__(name: str) -> Any:
    # Late: recording needs a file of this folder, and none of these.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
