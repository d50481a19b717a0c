"""Each provider's usage, written after its public API reference, and what it comes to."""

from __future__ import annotations

from typing import Any

import pytest

from eventtree.event import Usage
from eventtree.usage.normalize import normalize
from eventtree.usage.providers import FORMATS

Json = dict[str, Any]


def figures(raw: Json) -> Json:
    usage = normalize(raw)
    assert usage is not None
    return figures_of(usage)


def figures_of(usage: Usage) -> Json:
    return {
        **{k: v for k, v in usage.model_dump().items() if k.endswith("_tokens") and v is not None},
        **usage.units,
        **({"problems": usage.problems} if usage.problems else {}),
    }


def sides(input_tokens: int, output_tokens: int, **details: int) -> Json:
    total = input_tokens + output_tokens
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": total, **details}


BODIES: dict[str, tuple[Json, Json]] = {
    "openai chat": (
        {
            "usage": {
                "prompt_tokens": 2006,
                "completion_tokens": 300,
                "total_tokens": 2306,
                "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
                "completion_tokens_details": {
                    "reasoning_tokens": 192,
                    "audio_tokens": 0,
                    "accepted_prediction_tokens": 0,
                    "rejected_prediction_tokens": 0,
                },
            }
        },
        sides(*(2006, 300), cache_read_tokens=1920, reasoning_tokens=192, input_audio_tokens=0, output_audio_tokens=0),
    ),
    "openai embeddings": ({"usage": {"prompt_tokens": 8, "total_tokens": 8}}, sides(8, 0)),
    "openai responses": (
        {
            "usage": {
                "input_tokens": 328,
                "input_tokens_details": {"cached_tokens": 128},
                "output_tokens": 52,
                "output_tokens_details": {"reasoning_tokens": 12},
                "total_tokens": 380,
            }
        },
        sides(328, 52, cache_read_tokens=128, reasoning_tokens=12),
    ),
    "openai responses, last event of a stream": (
        {"response": {"usage": {"input_tokens": 37, "output_tokens": 11, "total_tokens": 48}}},
        sides(37, 11),
    ),
    "openai images": (
        {
            "usage": {
                "input_tokens": 50,
                "output_tokens": 1056,
                "total_tokens": 1106,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
                "output_tokens_details": {"image_tokens": 1056},
            }
        },
        sides(50, 1056, input_image_tokens=40, output_image_tokens=1056),
    ),
    "azure": (
        {
            "usage": {
                "completion_tokens": 9,
                "completion_tokens_details": None,
                "prompt_tokens": 20,
                "prompt_tokens_details": None,
                "total_tokens": 29,
            }
        },
        sides(20, 9),
    ),
    "anthropic with both caches": (
        {
            "usage": {
                "input_tokens": 21,
                "cache_creation_input_tokens": 188,
                "cache_read_input_tokens": 1880,
                "cache_creation": {"ephemeral_5m_input_tokens": 88, "ephemeral_1h_input_tokens": 100},
                "output_tokens": 393,
                "output_tokens_details": {"thinking_tokens": 120},
                "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
                "service_tier": "standard",
            }
        },
        sides(
            *(2089, 393),
            cache_read_tokens=1880,
            cache_write_tokens=188,
            cache_write_5m_tokens=88,
            cache_write_1h_tokens=100,
            reasoning_tokens=120,
            web_searches=2,
        ),
    ),
    "anthropic, whole prompt from the cache": (
        {"usage": {"input_tokens": 0, "cache_read_input_tokens": 500, "output_tokens": 3}},
        sides(500, 3, cache_read_tokens=500),
    ),
    "anthropic, context compacted": (
        {
            "usage": {
                "input_tokens": 23000,
                "output_tokens": 1000,
                "iterations": [
                    {"type": "compaction", "input_tokens": 180000, "output_tokens": 3500},
                    {"type": "message", "input_tokens": 23000, "output_tokens": 1000},
                ],
            }
        },
        sides(203000, 4500),
    ),
    "gemini rest": (
        {
            "usageMetadata": {
                "promptTokenCount": 1000,
                "cachedContentTokenCount": 800,
                "candidatesTokenCount": 50,
                "thoughtsTokenCount": 450,
                "toolUsePromptTokenCount": 30,
                "totalTokenCount": 1530,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 700},
                    {"modality": "AUDIO", "tokenCount": 200},
                    {"modality": "IMAGE", "tokenCount": 60},
                    {"modality": "DOCUMENT", "tokenCount": 40},
                ],
            }
        },
        sides(
            *(1030, 500), cache_read_tokens=800, reasoning_tokens=450, input_audio_tokens=200, input_image_tokens=100
        ),
    ),
    "gemini sdk, thought until it was cut": (
        {"usage_metadata": {"prompt_token_count": 10, "thoughts_token_count": 90, "total_token_count": 100}},
        sides(10, 90, reasoning_tokens=90),
    ),
    "gemini, candidates that include the thoughts": (
        {
            "usage_metadata": {
                "prompt_token_count": 10,
                "candidates_token_count": 90,
                "thoughts_token_count": 80,
                "total_token_count": 100,
            }
        },
        sides(10, 90, reasoning_tokens=80),
    ),
    "bedrock converse": (
        {
            "usage": {
                "inputTokens": 12,
                "outputTokens": 200,
                "totalTokens": 1712,
                "cacheReadInputTokens": 1000,
                "cacheWriteInputTokens": 500,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 300}, {"ttl": "5m", "inputTokens": 200}],
            }
        },
        sides(
            *(1512, 200),
            cache_read_tokens=1000,
            cache_write_tokens=500,
            cache_write_5m_tokens=200,
            cache_write_1h_tokens=300,
        ),
    ),
    "bedrock converse, a total without the cache": (
        {"usage": {"inputTokens": 12, "outputTokens": 20, "totalTokens": 32, "cacheReadInputTokens": 1000}},
        sides(1012, 20, cache_read_tokens=1000),
    ),
    "bedrock invoke, last chunk": (
        {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 14, "outputTokenCount": 9, "invocationLatency": 600}},
        sides(14, 9),
    ),
    "bedrock titan": (
        {"inputTextTokenCount": 5, "results": [{"tokenCount": 20, "completionReason": "FINISH"}]},
        {"input_tokens": 5, "output_tokens": 20, "total_tokens": 25},
    ),
    "bedrock llama": (
        {"generation": "...", "prompt_token_count": 21, "generation_token_count": 33, "stop_reason": "stop"},
        sides(21, 33),
    ),
    "mistral": (
        {
            "usage": {
                "prompt_tokens": 120,
                "completion_tokens": 30,
                "total_tokens": 150,
                "num_cached_tokens": 64,
                "prompt_audio_seconds": {},
            }
        },
        sides(120, 30, cache_read_tokens=64),
    ),
    "cohere v2": (
        {
            "usage": {
                "billed_units": {"input_tokens": 5, "output_tokens": 418},
                "tokens": {"input_tokens": 71, "output_tokens": 418},
            }
        },
        sides(71, 418, billed_input_tokens=5, billed_output_tokens=418),
    ),
    "cohere v1, floats": (
        {
            "meta": {
                "api_version": {"version": "1"},
                "billed_units": {"input_tokens": 10.0, "output_tokens": 3.0},
                "tokens": {"input_tokens": 60.0, "output_tokens": 3.0},
            }
        },
        sides(60, 3, billed_input_tokens=10, billed_output_tokens=3),
    ),
    "cohere rerank": ({"meta": {"billed_units": {"search_units": 1}}}, {"rerank_searches": 1}),
    "ollama": (
        {"model": "llama3.1:8b", "prompt_eval_count": 26, "eval_count": 259, "eval_duration": 4709213000},
        sides(26, 259),
    ),
    "ollama, prompt from its cache": ({"eval_count": 259}, {"output_tokens": 259}),
    "groq": (
        {
            "usage": {
                "queue_time": 0.018,
                "prompt_tokens": 44,
                "prompt_time": 0.002,
                "completion_tokens": 133,
                "completion_time": 0.3,
                "total_tokens": 177,
                "total_time": 0.302,
            }
        },
        sides(44, 133),
    ),
    "groq, last chunk of a stream": (
        {"x_groq": {"id": "req_1", "usage": {"prompt_tokens": 44, "completion_tokens": 3, "total_tokens": 47}}},
        sides(44, 3),
    ),
    "deepseek": (
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 40,
                "total_tokens": 140,
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
                "completion_tokens_details": {"reasoning_tokens": 25},
            }
        },
        sides(100, 40, cache_read_tokens=64, reasoning_tokens=25),
    ),
    "xai, reasoning outside completion": (
        {
            "usage": {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            }
        },
        sides(32, 103, reasoning_tokens=94),
    ),
    "perplexity deep research": (
        {
            "usage": {
                "prompt_tokens": 33,
                "completion_tokens": 7163,
                "total_tokens": 7196,
                "citation_tokens": 20000,
                "num_search_queries": 18,
                "reasoning_tokens": 95000,
            }
        },
        sides(33, 122163, reasoning_tokens=95000, web_searches=18, citation_tokens=20000),
    ),
    "perplexity deep research, as langchain_perplexity has it": (
        {
            "input_tokens": 33,
            "output_tokens": 7163,
            "total_tokens": 7196,
            "output_token_details": {"reasoning": 95000, "citation_tokens": 20000},
        },
        sides(33, 122163, reasoning_tokens=95000, citation_tokens=20000),
    ),
    "openrouter": (
        {
            "usage": {
                "prompt_tokens": 194,
                "completion_tokens": 2,
                "total_tokens": 196,
                "cost": 0.95,
                "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100},
            }
        },
        sides(194, 2, cache_read_tokens=0, cache_write_tokens=100),
    ),
    "litellm, cache inside the prompt": (
        {
            "usage": {
                "prompt_tokens": 2000,
                "completion_tokens": 10,
                "total_tokens": 2010,
                "cache_read_input_tokens": 1500,
                "cache_creation_input_tokens": 0,
            }
        },
        sides(2000, 10, cache_read_tokens=1500, cache_write_tokens=0),
    ),
    "llama-index's form of bedrock, cache outside the prompt": (
        {
            "prompt_tokens": 12,
            "completion_tokens": 20,
            "total_tokens": 1032,
            "cache_read_input_tokens": 1000,
            "cache_creation_input_tokens": 0,
        },
        sides(1012, 20, cache_read_tokens=1000, cache_write_tokens=0),
    ),
    "watsonx": ({"input_token_count": 7, "generated_token_count": 15}, sides(7, 15)),
    "xai sdk": (
        {"prompt_tokens": 10, "completion_tokens": 5, "reasoning_tokens": 4, "cached_prompt_text_tokens": 2},
        sides(10, 9, reasoning_tokens=4, cache_read_tokens=2),
    ),
    "databricks, counts at the top": (
        {
            "prompt_tokens": 11,
            "completion_tokens": 7,
            "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
        sides(11, 7, cache_read_tokens=4),
    ),
    "voyage": ({"usage": {"total_tokens": 10}}, {"total_tokens": 10}),
    "vllm": (
        {"usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, "prompt_tokens_details": None}},
        sides(5, 7),
    ),
}


@pytest.mark.parametrize(("body", "expected"), BODIES.values(), ids=BODIES)
def test_a_providers_body_comes_to_its_figures(body: Json, expected: Json) -> None:
    """C2, C3: whatever the provider includes, input holds the cache and output the reasoning."""
    assert figures({"raw": body}) == expected


@pytest.mark.parametrize(("body", "expected"), BODIES.values(), ids=BODIES)
def test_the_same_body_is_read_where_langchain_keeps_it(body: Json, expected: Json) -> None:
    """C1, C8: response_metadata alone is enough."""
    assert figures({"response_metadata": [{**body, "model_name": "m"}], "streamed": False}) == expected


def test_every_shape_has_a_body_here() -> None:
    """Adding a row to the table means adding a test."""
    seen = {shape.name for body, _ in BODIES.values() for shape in [_shape_of(body)] if shape}
    assert seen == {shape.name for shape in FORMATS} - {"langchain"}


def _shape_of(body: Json) -> Any:
    from eventtree.usage.normalize import _read_place

    reading = _read_place(body, "raw", frozenset(), [])
    return None if reading is None else next(one for one in FORMATS if one.name == reading.form)


FORMS: dict[str, tuple[Json, Json]] = {
    "openai": (
        {
            "input_tokens": 2006,
            "output_tokens": 300,
            "total_tokens": 2306,
            "input_token_details": {"audio": 0, "cache_read": 1920},
            "output_token_details": {"audio": 0, "reasoning": 192},
        },
        sides(*(2006, 300), cache_read_tokens=1920, reasoning_tokens=192, input_audio_tokens=0, output_audio_tokens=0),
    ),
    "openai, priority tier": (
        {
            "input_tokens": 100,
            "output_tokens": 50,
            "total_tokens": 150,
            "input_token_details": {"priority_cache_read": 60, "priority": 40},
            "output_token_details": {"priority_reasoning": 20, "priority": 30},
        },
        sides(100, 50, cache_read_tokens=60, reasoning_tokens=20),
    ),
    "openai, flex tier": (
        {
            "input_tokens": 100,
            "output_tokens": 50,
            "total_tokens": 150,
            "input_token_details": {"flex_cache_read": 60, "flex": 40, "flex_cache_creation": 10},
            "output_token_details": {"flex_reasoning": 20, "flex": 30},
        },
        sides(100, 50, cache_read_tokens=60, cache_write_tokens=10, reasoning_tokens=20),
    ),
    "anthropic, 5m and 1h": (
        {
            "input_tokens": 2089,
            "output_tokens": 393,
            "total_tokens": 2482,
            "input_token_details": {
                "cache_read": 1880,
                "cache_creation": 0,
                "ephemeral_5m_input_tokens": 88,
                "ephemeral_1h_input_tokens": 100,
            },
        },
        sides(
            *(2089, 393),
            cache_read_tokens=1880,
            cache_write_tokens=188,
            cache_write_5m_tokens=88,
            cache_write_1h_tokens=100,
        ),
    ),
    "gemini": (
        {
            "input_tokens": 1030,
            "output_tokens": 500,
            "total_tokens": 1530,
            "input_token_details": {"cache_read": 800},
            "output_token_details": {"reasoning": 450},
        },
        sides(1030, 500, cache_read_tokens=800, reasoning_tokens=450),
    ),
    "a class that leaves the cache out of the input": (
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "total_tokens": 1015,
            "input_token_details": {"cache_read": 900, "cache_creation": 100},
        },
        sides(1010, 5, cache_read_tokens=900, cache_write_tokens=100),
    ),
    "a class that leaves thinking out of the output": (
        {"input_tokens": 10, "output_tokens": 5, "total_tokens": 115, "output_token_details": {"reasoning": 100}},
        sides(10, 105, reasoning_tokens=100),
    ),
    "a class of somebody": ({"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}, sides(3, 4)),
    "a class that writes openai's names": ({"prompt_tokens": 3, "completion_tokens": 4}, sides(3, 4)),
}


@pytest.mark.parametrize(("form", "expected"), FORMS.values(), ids=FORMS)
def test_langchains_form_comes_to_the_same(form: Json, expected: Json) -> None:
    """C2, C3, C5: any class that fills usage_metadata is understood."""
    assert figures({"usage_metadata": [form]}) == expected


@pytest.mark.parametrize("form", ["openai, priority tier", "openai, flex tier"])
def test_the_tier_is_read_from_the_renamed_keys(form: str) -> None:
    """Priority_ and flex_ names say which tier was billed."""
    usage = normalize({"usage_metadata": [FORMS[form][0]]})
    assert usage is not None
    assert usage.service_tier == form.split()[1]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("response_metadata", [{"service_tier": "flex"}]),
        ("response_metadata", [{"usage": {"input_tokens": 1, "output_tokens": 1, "service_tier": "flex"}}]),
        ("raw", {"service_tier": "flex", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
        ("raw", {"serviceTier": {"type": "flex"}, "usage": {"inputTokens": 1, "outputTokens": 1}}),
        ("llm_output", {"service_tier": "flex"}),
    ],
)
def test_the_tier_is_read_where_the_provider_writes_it(place: str, value: Any) -> None:
    """Tiers have prices of their own."""
    usage = normalize({"usage_metadata": [{"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}], place: value})
    assert usage is not None
    assert usage.service_tier == "flex"
