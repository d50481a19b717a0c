"""Tokens of one event: provider JSON → `Usage`. Pure; only what is kept of an answer is read on the app's thread.

normalise   what a handler recorded → Usage
infer       a tokenizer's count, where the model reported none (count_tokens counts one text or list of messages)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventtree.usage.normalize import normalise
    from eventtree.usage.tokenizer import Tokenizer, count_tokens, infer

__all__ = ["Tokenizer", "count_tokens", "infer", "normalise"]


def __getattr__(name: str) -> Any:
    # Late: recording needs a file of this folder, and none of these.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "normalize" if name == "normalise" else "tokenizer"
    return getattr(import_module(f"eventtree.usage.{home}"), name)
