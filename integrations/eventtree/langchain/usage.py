"""The raw places where LangChain and its provider classes keep usage, as `eventtree.usage` reads them later.

Read when the model ends: a cached answer is rewritten in place afterwards. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from eventtree.event import JsonValue

KEPT = frozenset({
    *("token_usage", "usage", "usage_metadata", "usageMetadata", "x_groq", "token_count", "meta", "billed_units"),
    *("service_tier", "serviceTier", "system_fingerprint", "model_provider", "tokenUsage"),
    *("prompt_eval_count", "eval_count", "inputTextTokenCount", "generation_token_count", "prompt_token_count"),
    *("generated_token_count", "input_token_count", "output_token_count", "cached_tokens", "tokens", "results"),
    *("amazon-bedrock-invocationMetrics", "_hidden_params", "cost", "cost_in_usd_ticks"),
})  # fmt: skip
"""Keys of a message's `response_metadata`, a generation's info and `llm_output` that tell of usage or its price."""
COST_HEADER = "x-litellm-response-cost"


def raw_usage(
    result: Any,
    generations: Iterable[Any],
    memo: Mapping[str, Any],
    *,
    streamed: bool,
    plain: Callable[[Any], JsonValue],
) -> dict[str, JsonValue]:
    """All that a model run's end says of usage; empty where it says nothing."""
    messages = [getattr(generation, "message", None) for generation in generations]
    found: dict[str, Any] = {
        "usage_metadata": [_mapping(getattr(message, "usage_metadata", None)) for message in messages],
        "response_metadata": [_kept(_about(generation)) for generation in generations],
        "llm_output": _kept(_mapping(getattr(result, "llm_output", None))),
    }
    if not any(found["usage_metadata"]) and not any(found["response_metadata"]) and not found["llm_output"]:
        return {}
    usage: dict[str, JsonValue] = plain(found)
    usage["cached"] = any(one.get("total_cost") == 0 for one in found["usage_metadata"])
    usage["streamed"] = streamed
    usage["provider"] = memo.get("provider")
    usage["batch_size"] = memo.get("batch_size", 1)
    return usage


def response_model(result: Any, generations: Iterable[Any]) -> str | None:
    """The model that answered, as the answer names it."""
    abouts = [_about(generation) for generation in generations]
    for about in (*abouts, _mapping(getattr(result, "llm_output", None))):
        for key in ("model_name", "model", "model_id"):
            if isinstance(about.get(key), str) and about[key]:
                return str(about[key])
    return None


def _about(generation: Any) -> Mapping[str, Any]:
    """What the provider said beside the text: on the message (chat) or the generation (text models)."""
    message = getattr(generation, "message", None)
    return _mapping(getattr(message, "response_metadata", None)) or _mapping(
        getattr(generation, "generation_info", None)
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _kept(about: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in about.items() if key in KEPT}
    headers = about.get("headers")
    if isinstance(headers, Mapping):
        cost = next((value for name, value in headers.items() if str(name).lower() == COST_HEADER), None)
        if cost is not None:
            kept["headers"] = {COST_HEADER: cost}
    return kept
