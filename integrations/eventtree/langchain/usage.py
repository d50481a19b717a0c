"""The raw places where LangChain and its provider classes keep usage, as `eventtree.usage` reads them later.

Read when the model ends: a cached answer is rewritten in place afterwards. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eventtree.event import JsonValue
from eventtree.usage.collect import COUNTS, PLACES, without_text

KEPT = (
    PLACES
    | COUNTS
    | {
        *("tokens", "system_fingerprint", "model_provider"),
        *("_hidden_params", "cost", "cost_details", "cost_in_usd_ticks"),
    }
)
"""Keys of a message's `response_metadata`, a generation's info and `llm_output` that tell of usage or its price."""
COST_HEADER = "x-litellm-response-cost"


def learned_from(
    result: Any, generations: Sequence[Any], state: Mapping[str, Any], plain: Callable[[Any], JsonValue]
) -> dict[str, JsonValue]:
    """What a model run's end says of usage (`usage`, None where it says nothing), and which `model` it names."""
    counts, kept, answers, model, provider = [], [], [], None, None
    for generation in generations:
        message = getattr(generation, "message", None)
        about = _mapping(getattr(message, "response_metadata", None)) or _mapping(
            getattr(generation, "generation_info", None)
        )
        answers.append(getattr(message, "id", None))
        counts.append(_mapping(getattr(message, "usage_metadata", None)))
        kept.append(_kept(about) if about else about)
        if about:
            model = model or _model_in(about)
            provider = provider or about.get("model_provider")
    output = _mapping(getattr(result, "llm_output", None))
    model = model or _model_in(output)
    totals = _kept(output) if output else NOTHING
    learned: dict[str, JsonValue] = {"usage": None, "model": model}
    if state.get("is_guess") and isinstance(provider, str):
        learned["provider"] = provider
    if not totals and not any(counts) and not any(kept):
        return learned
    usage = plain({"usage_metadata": counts, "response_metadata": kept, "llm_output": totals})
    usage["cached"] = any(one.get("total_cost") == 0 for one in counts)
    usage["streamed"] = bool(state.get("streamed"))
    usage["provider"] = state.get("provider")
    usage["batch_size"] = state.get("batch_size", 1)
    if all(isinstance(one, str) for one in answers):
        usage["answers"] = plain(answers)  # a model that hands on another's message hands on its id
    learned["usage"] = usage
    return learned


def _model_in(about: Mapping[str, Any]) -> str | None:
    """The model that answered, as the answer names it."""
    for key in ("model_name", "model", "model_id"):
        if isinstance(about.get(key), str) and about[key]:
            return str(about[key])
    return None


NOTHING: dict[str, Any] = {}


def _mapping(value: Any) -> Mapping[str, Any]:
    # The first is by far the most usual, and the last asks in a roundabout way.
    return value if type(value) is dict or (value is not None and isinstance(value, Mapping)) else NOTHING


def _kept(about: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: without_text(key, about[key]) for key in about if key in KEPT}
    headers = about.get("headers")
    if isinstance(headers, Mapping):
        cost = next((value for name, value in headers.items() if str(name).lower() == COST_HEADER), None)
        if cost is not None:
            kept["headers"] = {COST_HEADER: cost}
    return kept
