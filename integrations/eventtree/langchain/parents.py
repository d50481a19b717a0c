"""The parent of a new run: the framework's own, else the run that encloses it in either framework."""

from __future__ import annotations

import sys
from uuid import UUID

from eventtree.langchain.classify import key_of
from eventtree.recording.around import around, follow_remote_graphs
from eventtree.recording.enclosing import SPANS, context_run, llama_index_span
from eventtree.recording.recorder import recorder
from eventtree.recording.remote import inner


def parent_of(given: UUID | None) -> str | None:
    """The parent's id, which the recorder may still replace; None makes a root."""
    if given is None:
        follow_remote_graphs()
        return around()[0]
    parent = key_of(given)
    if recorder.numbers_attempts:
        # LangChain reports attempts of `with_fallbacks` as siblings of the run around them; the context has the parent.
        attempt = context_run()
        if attempt is not None and attempt != parent:
            run = recorder.find(attempt)
            if run is not None and run.state.get("reported_parent") == parent:
                return attempt
    # LangChain knows only its own runs: own code or a LlamaIndex span inside that parent may call back into it.
    own = inner.get()
    if own is not None and type(own) is str and recorder.descends(own, parent):
        parent = own
    if SPANS in sys.modules and (span := llama_index_span()) is not None and recorder.descends(span, parent):
        parent = span
    return parent
