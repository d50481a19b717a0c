"""The model, provider and parameters that the start of a model run reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventtree.recording.model_settings import MODEL_KEYS, PARAMS, address_in
from eventtree.recording.pipeline import Params

FROM_METADATA = {"temperature": "ls_temperature", "max_tokens": "ls_max_tokens", "stop": "ls_stop"}
GIVEN = frozenset(FROM_METADATA.values())

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
    return address_in(kwargs) if isinstance(kwargs, dict) else None


def params_of(invocation: Mapping[str, Any], metadata: Mapping[str, Any]) -> Params | None:
    """The recorded parameters that are set; None without any."""
    found = {}
    for key, value in invocation.items():
        if value is not None and key in PARAMS:
            found[key] = value  # noqa: PERF403  (a comprehension is a call)
    if not GIVEN.isdisjoint(metadata):
        for key, source in FROM_METADATA.items():
            if key not in found and metadata.get(source) is not None:
                found[key] = metadata[source]
    return Params(found) if found else None
