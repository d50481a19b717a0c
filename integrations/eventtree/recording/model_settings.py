"""The settings of a model that are recorded: its parameters, its name, and the address of its service.

One table of names for both frameworks. Nothing else is recorded, since headers, clients and keys are among the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from eventtree.remembered import Remembered

PARAMS = frozenset({
    *("temperature", "max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "num_predict"),
    *("top_p", "top_k", "n", "stop", "stop_sequences", "seed", "logprobs", "top_logprobs", "logit_bias", "min_p"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "tools", "functions", "function_call"),
    *("tool_choice", "tool_config", "parallel_tool_calls", "response_format", "ls_structured_output_format"),
    *("reasoning", "reasoning_effort", "thinking", "thinking_budget", "verbosity", "effort", "service_tier", "stream"),
    *("streaming", "modalities", "audio", "best_of", "num_ctx", "truncation", "prediction", "include", "dimensions"),
    *("safety_settings", "candidate_count", "top_n", "similarity_top_k"),
})  # fmt: skip
MODEL_KEYS = ("model", "model_name", "model_id", "deployment_name", "azure_deployment")
URL_KEYS = (
    "base_url", "openai_api_base", "api_base", "azure_endpoint", "anthropic_api_url", "groq_api_base", "endpoint",
    "endpoint_url", "xai_api_base", "fireworks_api_base", "openrouter_api_base",
)  # fmt: skip
IS_URL = frozenset(URL_KEYS)


def address_in(given: Mapping[str, Any]) -> str | None:
    """The address of a model's service among the arguments or fields of its class."""
    if IS_URL.isdisjoint(given):
        return None
    url = next((given[key] for key in URL_KEYS if type(given.get(key)) is str and given[key]), None)
    return None if url is None else ADDRESSES[url]


def _address(url: str) -> str | None:
    """Scheme, host, port and path of a URL: user, password, query and fragment may be keys. None if it is no URL."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return urlunsplit((parts.scheme, f"{host}{port}", parts.path, "", ""))


ADDRESSES: Remembered[str, str | None] = Remembered(64, _address, longest=1_000)
