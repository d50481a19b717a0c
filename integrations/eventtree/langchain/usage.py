"""Copying the places where LangChain and its provider classes keep usage; `eventtree.usage` reads them later.

They are copied when the model ends, since a cached answer is changed in place afterwards. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventtree.content.fast_path import COPIES
from eventtree.content.fast_path import message as plain_message
from eventtree.content.finish import once
from eventtree.kinds import JsonValue
from eventtree.langchain.models import is_guess
from eventtree.recording.pipeline import Figures
from eventtree.remembered import Remembered
from eventtree.usage.collect import LOOKED_FOR, Listed, figures, model_in, usage_in

About = Mapping[str, Any]

NOTHING: dict[str, Any] = {}
GROUNDING = "grounding_metadata"
MODELS: Remembered[str, str] = Remembered(256, once, longest=200)
"""Models as answers name them → as they are written."""
READ = ("response_metadata", "usage_metadata", "id", "content", "additional_kwargs")
"""Fields of a message that are read."""


def learned_from(result: Any, generations: Sequence[Any], state: Mapping[str, Any], body: Any = None) -> dict[str, Any]:
    """The `usage` in a model run's end (None if it reports none), and the `model` it names.

    `body` is the provider's own answer, if an exception had one.
    """
    usage = Figures()
    counts: list[JsonValue] = []
    places: list[Mapping[str, Any]] = []
    answers: list[JsonValue] = []
    listed = model = provider = None
    is_streamed, is_reported = "streamed" in state, False
    for one in generations:
        message, beside = getattr(one, "message", None), getattr(one, "generation_info", None)
        beside = NOTHING if beside is None else _mapping(beside)
        own = (
            message.__dict__ if COPIES[type(message)] is plain_message else {k: getattr(message, k, None) for k in READ}
        )
        about, count, place = own.get("response_metadata"), own.get("usage_metadata"), NOTHING
        about = (about if type(about) is dict else _mapping(about)) or beside
        if about:
            if model is None:
                name = about.get("model_name")  # LangChain's own, by far the most usual
                model = MODELS[name] if type(name) is str and name else once(model_in(about))
            provider = provider or about.get("model_provider")
            if not LOOKED_FOR.isdisjoint(about) and (place := usage_in(about)):
                is_reported = True
                if is_streamed:
                    place = {key: once(value) for key, value in place.items()}
        places.append(place)
        if count := count if type(count) is dict else _mapping(count):
            if count.get("total_cost") == 0:
                usage["cached"] = True
            if count := figures(count):
                is_reported = True
        counts.append(count)
        if type(identity := own.get("id")) is str:
            answers.append(figures(identity))
        content, more = own.get("content"), own.get("additional_kwargs")
        if type(content) is not str or more or GROUNDING in about or GROUNDING in beside:
            listed = listed or Listed()
            _list(listed, content, _mapping(more), about, beside)
    output = getattr(result, "llm_output", None)
    for key, whole in (("llm_output", _mapping(output) or None), ("raw", body)) if output or body is not None else ():
        if whole is not None:
            model = model or once(model_in(whole))
            if place := usage_in(whole):
                usage[key] = place
    if (chunks := state.get("chunks")) and chunks["sum"] != chunks["last"]:
        usage["chunks"] = chunks
    if listed is not None and (found := listed.record()):
        usage["listed"] = found
    learned: dict[str, Any] = {"model": model, "usage": None}
    if isinstance(provider, str) and "class" in state and is_guess(state["call"].get("provider"), state["class"]):
        learned["provider"] = provider
    if not (is_reported or usage):
        return learned
    usage["usage_metadata"], usage["response_metadata"] = counts, places
    if is_streamed:
        usage["streamed"] = True
    if call := state.get("call"):
        usage.update(call)
    if answers and len(answers) == len(counts):
        usage["answers"] = answers  # a wrapper model returns the inner one's message with its id
    learned["usage"] = usage
    return learned


def _list(listed: Listed, content: Any, more: About, *holders: About) -> None:
    """Add the billed things that an answer lists beside its counts."""
    if type(content) is not str:
        listed.items(content)
    if more:
        listed.items(more.get("tool_outputs"))  # langchain_openai, output_version="v0"
        if more.get("audio"):
            listed.found.add(("files", "audio", ""))
    for holder in holders:
        if grounding := holder.get(GROUNDING):
            listed.grounding(grounding)


def _mapping(value: Any) -> Mapping[str, Any]:
    # The first check is by far the most usual, and the last is slow.
    return value if type(value) is dict or (value is not None and isinstance(value, Mapping)) else NOTHING
