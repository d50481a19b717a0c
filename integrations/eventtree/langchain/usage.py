"""The raw places where LangChain and its provider classes keep usage, as `eventtree.usage` reads them later.

Read when the model ends: a cached answer is rewritten in place afterwards. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventtree.content.finish import once
from eventtree.event import JsonValue
from eventtree.recording.pipeline import Figures
from eventtree.usage.collect import Listed, figures, kept, model_in

About = Mapping[str, Any]

NOTHING: dict[str, Any] = {}


def learned_from(result: Any, generations: Sequence[Any], state: Mapping[str, Any], body: Any = None) -> dict[str, Any]:
    """What a model run's end reports of usage (`usage`, None where it reports nothing), and which `model` it names.

    `body` is the provider's own answer, where an exception carried it.
    """
    messages = [getattr(one, "message", None) for one in generations]
    beside = [_mapping(getattr(one, "generation_info", None)) for one in generations]
    abouts = [
        _mapping(getattr(message, "response_metadata", None)) or info
        for message, info in zip(messages, beside, strict=True)
    ]
    output = _mapping(getattr(result, "llm_output", None))
    model = next((name for one in (*abouts, output, body) if one and (name := once(model_in(one)))), None)
    learned: dict[str, Any] = {"usage": None, "model": model}
    if state.get("is_guess"):
        provider = next((name for one in abouts if one and (name := one.get("model_provider"))), None)
        if isinstance(provider, str):
            learned["provider"] = provider
    counts = [_mapping(getattr(message, "usage_metadata", None)) for message in messages]
    places = [kept(about) if about else NOTHING for about in abouts]
    if state.get("streamed"):
        places = [{key: once(value) for key, value in one.items()} for one in places]
    usage: dict[str, Any] = {"usage_metadata": [figures(one) for one in counts], "response_metadata": places}
    usage |= {"llm_output": kept(output) if output else NOTHING} | ({} if body is None else {"raw": kept(body)})
    listed = _listed(messages, abouts, beside)
    if not (listed or any(counts) or any(places) or usage["llm_output"] or usage.get("raw") or "chunks" in state):
        return learned
    usage["cached"] = any(one.get("total_cost") == 0 for one in counts)
    usage["streamed"] = bool(state.get("streamed"))
    usage["provider"] = figures(state.get("provider"))
    usage["batch_size"] = state.get("batch_size", 1)
    if "chunks" in state:
        usage["chunks"] = state["chunks"]
    if listed:
        usage["listed"] = listed
    if state.get("sent"):
        usage["sent"] = state["sent"]
    answers = [getattr(message, "id", None) for message in messages]
    if answers and all(isinstance(one, str) for one in answers):
        usage["answers"] = figures(answers)  # a model that hands on another's message hands on its id
    learned["usage"] = Figures(usage)
    return learned


def _listed(messages: Sequence[Any], abouts: Sequence[About], beside: Sequence[About]) -> dict[str, JsonValue]:
    """What the answer lists besides its counts."""
    listed = Listed()
    for message in messages:
        more = _mapping(getattr(message, "additional_kwargs", None))
        content = getattr(message, "content", None)
        if type(content) is not str:
            listed.items(content)
        if more:
            listed.items(more.get("tool_outputs"))  # langchain_openai, output_version="v0"
            if more.get("audio"):
                listed.files.add("audio")
    for holder in (*abouts, *beside):
        grounding = holder.get("grounding_metadata")
        if grounding:
            listed.grounding(grounding)
    return listed.record()


def _mapping(value: Any) -> Mapping[str, Any]:
    # The first is by far the most usual, and the last asks in a roundabout way.
    return value if type(value) is dict or (value is not None and isinstance(value, Mapping)) else NOTHING
