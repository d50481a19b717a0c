"""Under which run a new one hangs: the framework's own parent, else what encloses it in either framework."""

from __future__ import annotations

import sys
from uuid import UUID

from eventtree.langchain.classify import key_of
from eventtree.recording.enclosing import SPANS, context_run, langchain_run, llama_index_span
from eventtree.recording.recorder import recorder


def parent_of(given: UUID | None) -> str | None:
    """The parent's id, for the recorder to judge; None makes a root."""
    if given is None:
        # Nothing can enclose a run while nothing is open; that spares most apps the look at the frames.
        return around() if recorder.runs else None
    parent = key_of(given)
    if recorder.numbers_attempts:
        # LangChain reports the attempts of `with_fallbacks` as siblings of the run around them; its context is right.
        inner = context_run()
        if inner is not None and inner != parent:
            run = recorder.find(inner)
            if run is not None and run.state.get("reported_parent") == parent:
                return inner
    if SPANS in sys.modules:
        span = llama_index_span()
        if span is not None and recorder.descends(span, parent):
            # A LlamaIndex span inside that parent calls back into LangChain, which knows only its own runs.
            return span
    return parent


def around() -> str | None:
    """The innermost open run around the running code, whichever framework it belongs to."""
    chain, span = langchain_run(), llama_index_span()
    chain = chain if chain is not None and recorder.is_open(chain) else None
    span = span if span is not None and recorder.is_open(span) else None
    if chain is None or span is None:
        return chain or span
    return span if recorder.descends(span, chain) else chain
