"""LlamaIndex: everything its dispatcher reports, as event trees.

    import eventtree.llama_index

    eventtree.llama_index.set_global_handler(vendors=[...])

Importing this does not import `llama_index.core`, only its small instrumentation package.
"""

from __future__ import annotations

from eventtree.llama_index.handler import DispatcherHandler, global_handler, set_global_handler

__all__ = ["DispatcherHandler", "global_handler", "set_global_handler"]
