"""The model, provider and parameters that the start of a model run reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventtree.content import endpoint
from eventtree.recording.pipeline import Params
from eventtree.remembered import Remembered

PARAMS = frozenset({
    *("temperature", "max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict", "top_p", "top_k", "n"),
    *("stop", "stop_sequences", "seed", "logprobs", "top_logprobs", "logit_bias", "presence_penalty", "min_p"),
    *("frequency_penalty", "repetition_penalty", "tools", "functions", "function_call", "tool_choice", "tool_config"),
    *("parallel_tool_calls", "response_format", "ls_structured_output_format", "reasoning", "reasoning_effort"),
    *("thinking", "thinking_budget", "verbosity", "effort", "service_tier", "stream", "streaming", "modalities"),
    *("audio", "best_of", "num_ctx", "truncation", "prediction", "include", "safety_settings", "candidate_count"),
})  # fmt: skip
"""Parameters that are recorded. Others are not, since headers, clients and keys are among them."""
FROM_METADATA = {"temperature": "ls_temperature", "max_tokens": "ls_max_tokens", "stop": "ls_stop"}

URL_KEYS = (
    "base_url", "openai_api_base", "api_base", "azure_endpoint", "anthropic_api_url", "groq_api_base", "endpoint",
    "endpoint_url", "xai_api_base", "fireworks_api_base", "openrouter_api_base",
)  # fmt: skip
"""Serialized arguments in which classes keep the address of their service."""
IS_URL = frozenset(URL_KEYS)
ENDPOINTS: Remembered[str, str | None] = Remembered(64, endpoint, longest=1_000)
MODEL_KEYS = ("model", "model_name", "model_id", "deployment_name", "azure_deployment")


ASKED = ("inference_geo", "speed", "service_tier")
"""Parameters of a request that may change its price."""
SILENT = ("anthropic", "google")
"""Prefixes of providers whose LangChain clients drop these from answers."""

LONG = "1h"
"""The cache lifetime that costs more."""


def asked_of(invocation: Mapping[str, Any], serialized: Any) -> dict[str, Any]:
    """The parameters of `ASKED` in a request, and the cache lifetime of its prompt or tools (`ttl`)."""
    given = serialized.get("kwargs") if isinstance(serialized, dict) else None
    holders = [one for one in (given, invocation.get("model_kwargs"), invocation) if isinstance(one, dict)]
    found = {name: one[name] for one in holders for name in ASKED if one.get(name) is not None}
    tools = invocation.get("tools")
    cached = [
        one.get("cache_control") for one in (invocation, *(tools if type(tools) is list else ())) if type(one) is dict
    ]
    is_long = any(isinstance(one, dict) and one.get("ttl") == LONG for one in cached)
    return found | ({"ttl": LONG} if is_long else {})


OWN_CLASSES = frozenset(
    {"cerebras", "deepseek", "fireworks", "groq", "nebius", "sambanova", "together", "upstage", "xai"}
)
"""Providers whose LangChain class has their name. Answers of those built on OpenAI's class name "openai"."""


def is_guess(provider: Any, name: str) -> bool:
    """Whether the provider named at the start is LangChain's guess: the class's `name` in lower case without "chat"."""
    name = name.lower()
    guesses = (None, name, name.removeprefix("chat"), name.removesuffix("chat"))
    return provider in guesses and provider not in OWN_CLASSES


def requested_model(invocation: Mapping[str, Any], metadata: Mapping[str, Any]) -> Any:
    """The model that was asked for, as the framework names it."""
    return metadata.get("ls_model_name") or next((invocation[key] for key in MODEL_KEYS if invocation.get(key)), None)


def base_url(serialized: Any) -> str | None:
    """The address of the service, if the model was given one and can be serialized."""
    kwargs = serialized.get("kwargs") if isinstance(serialized, dict) else None
    if not isinstance(kwargs, dict):
        return None
    if IS_URL.isdisjoint(kwargs):
        return None
    found = next((kwargs[key] for key in URL_KEYS if type(kwargs.get(key)) is str and kwargs[key]), None)
    return None if found is None else ENDPOINTS[found]


def params_of(invocation: Mapping[str, Any], metadata: Mapping[str, Any]) -> Params | None:
    """The recorded parameters that are set; None without any."""
    found = {}
    if not PARAMS.isdisjoint(invocation):
        found = {key: value for key, value in invocation.items() if value is not None and key in PARAMS}
    if not GIVEN.isdisjoint(metadata):
        for key, source in FROM_METADATA.items():
            if key not in found and metadata.get(source) is not None:
                found[key] = metadata[source]
    return Params(found) if found else None


GIVEN = frozenset(FROM_METADATA.values())
