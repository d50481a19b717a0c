"""LlamaIndex: event trees of everything that its dispatcher reports.

    import eventtree.llama_index

    eventtree.llama_index.set_global_handler(vendors=[...])

Importing this module does not import `llama_index.core`, only its small instrumentation package.
"""

from __future__ import annotations

from eventtree.errors import without_extra

try:
    from eventtree.llama_index.global_handler import global_handler, set_global_handler
    from eventtree.llama_index.handler import DispatcherHandler
except ImportError as error:
    raise without_extra("llama-index", error) from None

__all__ = ["DispatcherHandler", "global_handler", "set_global_handler"]
