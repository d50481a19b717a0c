"""Our shapes against genai-prices' own extractors: for each provider and flavour a body is made from its mappings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from genai_prices.data import providers
from genai_prices.types import ArrayMatch, UsageExtractor

from eventtree.usage.normalize import normalize

WHOLES = {
    **dict.fromkeys(("input_tokens", "prompt_tokens", "inputTokens", "promptTokenCount"), 10000),
    **dict.fromkeys(("output_tokens", "completion_tokens", "outputTokens", "candidatesTokenCount"), 5000),
}
CACHED = {"cachedContentTokenCount", "cached_tokens"}
"""Wholes of a cache, which are larger than its parts by modality."""
COMPARED = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_audio_read_tokens": "cache_read_audio_tokens",
    "cache_image_read_tokens": "cache_read_image_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_5m_tokens": "cache_write_5m_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
}
NO_TOKENS = {"mistral/ocr", "mistral/ocr_annotated", "openai/live"}


def extractors() -> Iterator[Any]:
    for provider in providers:
        for extractor in provider.extractors or ():
            name = f"{provider.id}/{extractor.api_flavor}"
            if name not in NO_TOKENS:
                yield pytest.param(extractor, name, id=name)


def steps_of(path: Any) -> list[Any]:
    return [path] if isinstance(path, str) else list(path)


def put(body: Any, steps: list[Any], value: int) -> None:
    """Write `value` at a genai-prices path, making what is on the way."""
    for step, following in pairwise(steps):
        if isinstance(step, ArrayMatch):
            wanted = step.match.equals  # type: ignore[union-attr]
            item = next((one for one in body if one[step.field] == wanted), None)
            if item is None:
                item = {step.field: wanted}
                body.append(item)
            body = item
        else:
            body = body.setdefault(step, [] if isinstance(following, ArrayMatch) else {})
    body.setdefault(steps[-1], value)


def body_for(extractor: UsageExtractor, name: str) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for n, mapping in enumerate(extractor.mappings):
        steps = steps_of(mapping.path)
        whole = "".join(steps) if len(steps) == 1 else ""
        put(body, [*steps_of(extractor.root), *steps], WHOLES.get(whole, 1500 if steps[-1] in CACHED else 101 + n))
    usage = body.get("usage", {})
    if "cache_creation" in usage:
        usage["cache_creation_input_tokens"] = sum(usage["cache_creation"].values())
    if "cacheDetails" in usage:
        usage["cacheWriteInputTokens"] = sum(one["inputTokens"] for one in usage["cacheDetails"])
    if name == "x-ai/chat":  # told from OpenAI's own by the total, which every answer has
        usage["total_tokens"] = 15000 + usage["completion_tokens_details"]["reasoning_tokens"]
    if name == "cohere/tokens":
        usage["tokens"] |= {"input_tokens": 10000, "output_tokens": 5000}
    return body


@pytest.mark.parametrize(("extractor", "name"), extractors())
def test_we_read_what_genai_prices_reads(extractor: UsageExtractor, name: str) -> None:
    """C2, C3: the same figures, whichever provider and flavour."""
    body = body_for(extractor, name)
    _, theirs = extractor.extract(body)
    usage = normalize({"raw": body})
    assert usage is not None
    expected = {COMPARED[key]: value for key, value in vars(theirs).items() if key in COMPARED}
    assert {key: getattr(usage, key) for key in expected} == expected
    assert usage.problems == ()
