"""Where each provider writes its token counts: one row for each form, with its source in a comment.

A path walks into objects ("a.b") and may pick items of a list by a field ("a[modality=AUDIO].tokenCount", summed over
the items that match); alternatives are separated by " | ", and the first that exists counts.

The figures are those of `eventtree.event.Usage` without "_tokens", `tool_input` (never part of the provider's input,
always added), and the names in UNITS (`citation_tokens` are never part of the output).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eventtree.kinds import JsonValue

UNITS = (
    *("web_searches", "rerank_searches", "storage_searches", "social_searches", "code_executions"),
    *("document_searches", "image_generations", "search_sources", "billed_input_tokens", "billed_output_tokens"),
    *("embedded_images", "classifications", "audio_seconds"),
    *("citation_tokens", "input_video_tokens", "output_video_tokens"),
)
"""Billed units other than the model's tokens, and (`…_tokens`) tokens that may have a price of their own; named as in
genai-prices where it has a name.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFormat:
    """How one provider (or one framework) writes usage.

    A dict has this form if it holds one of `marks` and, if `beside` is given, one of those too. `outside` names the
    details (`cache`, `reasoning`) that the provider's own input and output do NOT include. A stated total may overrule
    that, unless the convention is `documented`.
    """

    name: str
    marks: tuple[str, ...]
    reads: Mapping[str, str]
    beside: tuple[str, ...] = ()
    outside: frozenset[str] = frozenset()
    documented: bool = False
    absent_output_is_zero: bool = False

    def fits(self, raw: Mapping[str, JsonValue]) -> bool:
        """Whether `raw` has this form; a key whose value is null counts as absent."""
        if not any(_leads(raw, mark) for mark in self.marks):
            return False
        return not self.beside or any(raw.get(key) is not None for key in self.beside)


def _leads(raw: JsonValue, mark: str) -> bool:
    for key in mark.split("."):
        raw = raw.get(key) if isinstance(raw, Mapping) else None
    return raw is not None


def _detail(whole: str, key: str) -> str:
    """LangChain's path of a detail, also under its names for OpenAI's priority and flex tiers."""
    return " | ".join(f"{whole}_token_details.{tier}{key}" for tier in ("", "priority_", "flex_"))


def _modalities(stem: str, names: str) -> str:
    """Gemini's path of one modality in a list of counts, in camel case (REST) and snake case (SDK)."""
    return f"{stem}TokensDetails[modality={names}].tokenCount | {stem}_tokens_details[modality={names}].token_count"


def _sides(sent: str, answered: str, *total: str) -> dict[str, str]:
    """The paths of the counts that every provider has."""
    return dict(zip(("input", "output", "total"), (sent, answered, *total), strict=False))


LANGCHAIN = ProviderFormat(
    # langchain_core.messages.ai.UsageMetadata: input includes the cache; any model class may fill it. Anthropic's 5m/1h
    # keys come with cache_creation = 0 (langchain_anthropic); priority_/flex_ names come from langchain_openai.
    # OpenAI's realtime API uses the same "input_token_details" with cached_tokens.
    name="langchain",
    marks=("input_tokens", "output_tokens", "total_tokens"),
    beside=("input_token_details", "output_token_details"),
    reads={
        **_sides("input_tokens", "output_tokens", "total_tokens"),
        "cache_read": _detail("input", "cache_read") + " | input_token_details.cached_tokens",
        "cache_write": _detail("input", "cache_creation"),
        "cache_write_5m": "input_token_details.ephemeral_5m_input_tokens",
        "cache_write_1h": "input_token_details.ephemeral_1h_input_tokens",
        "reasoning": _detail("output", "reasoning"),
        "input_audio": "input_token_details.audio | input_token_details.audio_tokens",
        "output_audio": "output_token_details.audio | output_token_details.audio_tokens",
        "cache_read_audio": "input_token_details.cached_tokens_details.audio_tokens",
        "cache_read_image": "input_token_details.cached_tokens_details.image_tokens",
        "input_image": "input_token_details.image | input_token_details.image_tokens",
        "output_image": "output_token_details.image | output_token_details.image_tokens",
    },
)

XAI_TOOLS: Mapping[str, str] = {
    # xAI's own tools and live search: docs.x.ai/developers/tools, "Tool usage and pricing"
    "web_searches": "server_side_tool_usage_details.web_search_calls",
    "social_searches": "server_side_tool_usage_details.x_search_calls",
    "code_executions": "server_side_tool_usage_details.code_interpreter_calls",
    "storage_searches": "server_side_tool_usage_details.file_search_calls",
    "document_searches": "server_side_tool_usage_details.document_search_calls",
    "image_generations": "server_side_tool_usage_details.image_generation_calls",
    "search_sources": "num_sources_used",
}

FORMATS: tuple[ProviderFormat, ...] = (
    ProviderFormat(
        # langchain_perplexity's UsageMetadata: the body's counts, as "perplexity" below has them.
        name="perplexity in langchain",
        marks=("output_token_details.citation_tokens",),
        reads={
            **_sides("input_tokens", "output_tokens", "total_tokens"),
            "reasoning": "output_token_details.reasoning",
            "citation_tokens": "output_token_details.citation_tokens",
        },
        outside=frozenset({"reasoning"}),
        documented=True,
    ),
    LANGCHAIN,
    ProviderFormat(
        # Cohere chat v2 `usage` and v1/embed/rerank `meta`: docs.cohere.com/reference/chat. `tokens` is what the model
        # saw, `billed_units` what is paid for; a rerank is paid by search_units.
        name="cohere",
        marks=("tokens", "billed_units"),
        reads={
            "input": "tokens.input_tokens | billed_units.input_tokens",
            "output": "tokens.output_tokens | billed_units.output_tokens",
            "cache_read": "cached_tokens",
            "billed_input_tokens": "billed_units.input_tokens",
            "billed_output_tokens": "billed_units.output_tokens",
            "rerank_searches": "billed_units.search_units",
            "embedded_images": "billed_units.images",
            "classifications": "billed_units.classifications",
        },
    ),
    ProviderFormat(
        # Llama on Bedrock Invoke: docs.aws.amazon.com, "Meta Llama models", response.
        name="bedrock-llama",
        marks=("generation_token_count",),
        reads=_sides("prompt_token_count", "generation_token_count"),
        documented=True,
    ),
    ProviderFormat(
        # Gemini usageMetadata: ai.google.dev/api/generate-content#UsageMetadata. The prompt includes cached content;
        # candidates exclude thoughts; the tool-use prompt stands apart; zero counts are left out of the JSON.
        name="gemini",
        marks=(
            *("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount"),
            *("prompt_token_count", "candidates_token_count", "thoughts_token_count", "total_token_count"),
        ),
        reads={
            "input": "promptTokenCount | prompt_token_count",
            "output": "candidatesTokenCount | candidates_token_count | responseTokenCount | response_token_count",
            "total": "totalTokenCount | total_token_count",
            "cache_read": "cachedContentTokenCount | cached_content_token_count",
            "reasoning": "thoughtsTokenCount | thoughts_token_count",
            "tool_input": "toolUsePromptTokenCount | tool_use_prompt_token_count",
            "cache_read_audio": _modalities("cache", "AUDIO"),
            "cache_read_image": _modalities("cache", "IMAGE,DOCUMENT"),
            "input_audio": _modalities("prompt", "AUDIO"),
            "input_image": _modalities("prompt", "IMAGE,DOCUMENT"),
            # The Live API answers in `response…`.
            "output_audio": f"{_modalities('candidates', 'AUDIO')} | {_modalities('response', 'AUDIO')}",
            "output_image": f"{_modalities('candidates', 'IMAGE')} | {_modalities('response', 'IMAGE')}",
            "input_video_tokens": _modalities("prompt", "VIDEO"),
            "output_video_tokens": _modalities("candidates", "VIDEO"),
        },
        outside=frozenset({"reasoning"}),
        absent_output_is_zero=True,
    ),
    ProviderFormat(
        # Bedrock: Converse's TokenUsage (docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html),
        # Invoke's "amazon-bedrock-invocationMetrics" in the last chunk of a stream, and Titan's answer ("Amazon Titan
        # Text models"). The input excludes the cache. Cursor writes the same case with other keys of the cache.
        name="bedrock",
        marks=("inputTokens", "outputTokens", "inputTokenCount", "outputTokenCount", "inputTextTokenCount"),
        reads={
            **_sides(
                "inputTokens | inputTokenCount | inputTextTokenCount",
                "outputTokens | outputTokenCount | results[].tokenCount",
                "totalTokens",
            ),
            "cache_read": "cacheReadInputTokens | cacheReadInputTokenCount | cacheReadTokens",
            "cache_write": "cacheWriteInputTokens | cacheWriteInputTokenCount | cacheWriteTokens",
            "cache_write_5m": "cacheDetails[ttl=5m].inputTokens",
            "cache_write_1h": "cacheDetails[ttl=1h].inputTokens",
        },
        outside=frozenset({"cache"}),
        documented=True,
    ),
    ProviderFormat(
        # Ollama: docs.ollama.com/api, final response. prompt_eval_count is absent when the prompt was cached.
        name="ollama",
        marks=("prompt_eval_count", "eval_count"),
        reads=_sides("prompt_eval_count", "eval_count"),
    ),
    ProviderFormat(
        # watsonx.ai text generation: cloud.ibm.com/apidocs/watsonx-ai, results[]; langchain-ibm copies the keys.
        name="watsonx",
        marks=("generated_token_count", "input_token_count"),
        reads=_sides("input_token_count", "generated_token_count | output_token_count"),
    ),
    ProviderFormat(
        # Perplexity Sonar: docs.perplexity.ai/api-reference/chat-completions-post. Reasoning and citation tokens are
        # billed besides completion_tokens (genai-prices' extractor adds them too); the total leaves them out.
        name="perplexity",
        marks=("citation_tokens", "num_search_queries"),
        beside=("prompt_tokens",),
        reads={
            **_sides("prompt_tokens", "completion_tokens", "total_tokens"),
            "reasoning": "reasoning_tokens",
            "citation_tokens": "citation_tokens",
            "web_searches": "num_search_queries",
        },
        outside=frozenset({"reasoning"}),
        documented=True,
    ),
    ProviderFormat(
        # Anthropic Messages `usage`, also on Bedrock Invoke, Vertex, Azure: platform.claude.com/docs/en/api/messages.
        # input_tokens excludes the cache, output_tokens includes thinking.
        name="anthropic",
        marks=(
            *("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "server_tool_use"),
            "iterations",
        ),
        beside=("input_tokens", "output_tokens"),
        reads={
            **_sides("input_tokens", "output_tokens", "total_tokens"),
            "cache_read": "cache_read_input_tokens",
            "cache_write": "cache_creation_input_tokens",
            "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
            "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
            "reasoning": "output_tokens_details.thinking_tokens",
            "web_searches": "server_tool_use.web_search_requests",
        },
        outside=frozenset({"cache"}),
        documented=True,
    ),
    ProviderFormat(
        # xAI's own SDK: docs.x.ai; completion_tokens exclude reasoning.
        name="xai",
        marks=("cached_prompt_text_tokens",),
        beside=("prompt_tokens",),
        reads={
            **_sides("prompt_tokens", "completion_tokens", "total_tokens"),
            "cache_read": "cached_prompt_text_tokens",
            "reasoning": "reasoning_tokens",
            "input_image": "prompt_image_tokens",
        },
        outside=frozenset({"reasoning"}),
    ),
    ProviderFormat(
        # OpenAI chat completions, completions and embeddings, and all compatible ones: platform.openai.com/docs/
        # api-reference/chat/object. Azure, Groq, OpenRouter, Together, Fireworks, vLLM, llama.cpp, LM Studio ...
        # Cache: DeepSeek (prompt_cache_hit_tokens: api-docs.deepseek.com/guides/kv_cache), Mistral (num_cached_tokens;
        # prompt_token_details, singular, and prompt_tokens_details: docs.mistral.ai/api, UsageInfo), Moonshot
        # (cached_tokens), LiteLLM and Databricks (cache_read_input_tokens; LlamaIndex uses it for Bedrock too, where
        # prompt_tokens excludes it: the total decides). Reasoning: xAI leaves it out of completion_tokens (the total
        # decides); Databricks and Modal write it at the top. Cache writes of an hour: LiteLLM; explicit ones: Qwen
        # (alibabacloud.com/help/en/model-studio/context-cache). Mistral bills Voxtral's audio by the second
        # (docs.mistral.ai/api, UsageInfo), and OpenRouter the searches (openrouter.ai/docs, usage accounting).
        name="openai",
        marks=("prompt_tokens", "completion_tokens"),
        reads={
            **_sides("prompt_tokens", "completion_tokens", "total_tokens"),
            "cache_read": "prompt_cache_hit_tokens | prompt_tokens_details.cached_tokens"
            " | prompt_token_details.cached_tokens | num_cached_tokens | cached_tokens | cache_read_input_tokens",
            "cache_read_audio": "prompt_tokens_details.cached_tokens_details.audio_tokens",
            "cache_read_image": "prompt_tokens_details.cached_tokens_details.image_tokens",
            "cache_write": "prompt_tokens_details.cache_write_tokens | prompt_tokens_details.cache_creation_tokens"
            " | prompt_tokens_details.cache_creation_input_tokens | cache_creation_input_tokens"
            " | cache_write_input_tokens",
            "cache_write_5m": "prompt_tokens_details.cache_creation_token_details.ephemeral_5m_input_tokens"
            " | prompt_tokens_details.cache_creation.ephemeral_5m_input_tokens",
            "cache_write_1h": "prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",
            "reasoning": "completion_tokens_details.reasoning_tokens | reasoning_tokens",
            "input_audio": "prompt_tokens_details.audio_tokens",
            "output_audio": "completion_tokens_details.audio_tokens",
            "input_image": "prompt_tokens_details.image_tokens",
            "output_image": "completion_tokens_details.image_tokens",
            "audio_seconds": "prompt_audio_seconds",
            **XAI_TOOLS,
            "web_searches": f"server_tool_use.web_search_requests | {XAI_TOOLS['web_searches']}",
        },
    ),
    ProviderFormat(
        # OpenAI Responses and Images: platform.openai.com/docs/api-reference/responses/object; Perplexity's Responses
        # form names the cache otherwise; any server that writes input_tokens and output_tokens.
        name="responses",
        marks=("input_tokens", "output_tokens"),
        reads={
            **_sides("input_tokens", "output_tokens", "total_tokens"),
            "cache_read": "input_tokens_details.cached_tokens | input_tokens_details.cache_read_input_tokens"
            " | prompt_tokens_details.cached_tokens",
            "cache_read_audio": "input_tokens_details.cached_tokens_details.audio_tokens",
            "cache_read_image": "input_tokens_details.cached_tokens_details.image_tokens",
            "cache_write": "input_tokens_details.cache_write_tokens",
            "reasoning": "output_tokens_details.reasoning_tokens | output_tokens_details.thinking_tokens",
            "input_image": "input_tokens_details.image_tokens",
            "output_image": "output_tokens_details.image_tokens",
            "input_audio": "input_tokens_details.audio_tokens",
            "output_audio": "output_tokens_details.audio_tokens",
            **XAI_TOOLS,
            "web_searches": f"tool_calls_details.search_web.invocation | {XAI_TOOLS['web_searches']}",
        },
    ),
    ProviderFormat(
        # Voyage, Jina and others that give a total only: docs.voyageai.com/reference/embeddings-api.
        name="total",
        marks=("total_tokens",),
        reads={"total": "total_tokens"},
    ),
)

UNITS_BESIDE: Mapping[str, str] = {"num_search_queries": "web_searches"}
"""Key of a unit that a client writes beside the counts (langchain_perplexity) → the unit."""

CONTAINERS: tuple[str, ...] = (
    "token_usage",  # LangChain: response_metadata and llm_output of most classes
    "usage",  # OpenAI, Anthropic, Bedrock Converse, Mistral, Cohere v2: the body as it came
    "usage_metadata",  # Gemini SDK
    "usageMetadata",  # Gemini REST
    "x_groq.usage",  # Groq, last chunk of a stream
    "token_count",  # langchain-cohere
    "meta",  # Cohere v1, embed, rerank
    "response.usage",  # OpenAI Responses stream event "response.completed"
    "result.usage",  # Cloudflare Workers AI
    "message.usage",  # Anthropic stream event "message_start"
    "metadata.usage",  # Bedrock Converse stream event "metadata"
    "amazon-bedrock-invocationMetrics",  # Bedrock Invoke, last chunk of a stream
    "tokenUsage",  # Cursor
    "",  # the place itself: Ollama's response_metadata, LlamaIndex's additional_kwargs
)
"""Where the counts may be within one place of a record, in order of trust."""

TIERS: tuple[str, ...] = (
    "service_tier",
    "serviceTier.type",  # Bedrock Converse
    "usage.service_tier",
    "token_usage.service_tier",
    "response.service_tier",
    "message.usage.service_tier",
    "x_groq.service_tier",
    "usage_metadata.service_tier",
    "usageMetadata.serviceTier",
    "usageMetadata.trafficType",  # Vertex AI: GenerateContentResponse.UsageMetadata.TrafficType
    "usage_metadata.traffic_type",
    "usage_metadata.trafficType",
)
"""Where the service tier may be within one place of a record."""

TIER_NAMES: Mapping[str, str] = {
    # cloud.google.com/vertex-ai/generative-ai/docs/deploy/consumption-options
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "provisioned_throughput": "provisioned",
    "traffic_type_unspecified": "standard",
}
"""A provider's name of a tier in lower case → the name in price tables. Others are used unchanged."""

REQUESTED_TIERS = frozenset({"auto", "priority"})
"""Tiers that a request may ask for without getting them: Anthropic's docs/en/api/service-tiers, Google's
ai.google.dev/gemini-api/docs/priority-inference, "downgraded".
"""

ORDINARY = frozenset({
    *("standard", "default", "auto", "on_demand", "unspecified", "standard_only", "global"),
    *("not_available", "not_applied"),
})  # fmt: skip
"""Values that change no price: OpenAI, Anthropic, Groq, Bedrock, Google; Anthropic's `inference_geo`."""

MODIFIERS: Mapping[str, str] = {
    # Anthropic: platform.claude.com/docs/en/build-with-claude/fast-mode
    "usage.speed": "speed",
    "token_usage.speed": "speed",
    "speed": "speed",
    # Anthropic: platform.claude.com/docs/en/manage-claude/data-residency
    "usage.inference_geo": "inference_geo",
    "token_usage.inference_geo": "inference_geo",
    "inference_geo": "inference_geo",
    # Anthropic: platform.claude.com/docs/en/build-with-claude/fallback-credit
    "usage.fallback_credit.status.type": "fallback_credit",
    # Bedrock Converse: docs.aws.amazon.com/bedrock/latest/userguide/latency-optimized-inference.html
    "performanceConfig.latency": "latency",
}
"""Path of a value that changes an answer's price, besides the tier → its name."""

REPEATS: tuple[str, ...] = ("openai", "azure", "google", "vertexai", "gemini", "genai")
"""Providers whose LangChain class writes the request's usage on each of n generations (one request, n choices)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """A figure that LangChain's client of a provider leaves out, or replaces by another."""

    provider: str
    problem: str
    lacks: str
    """The missing figure."""
    mark: str = ""
    """Path of a value that shows the quirk; "" if every stream has it."""
    is_billed: bool = False
    """Whether the counts are the billed units."""


QUIRKS: tuple[Quirk, ...] = (
    Quirk(
        # ChatCohere._get_stream_info_v2 copies usage.billed_units, _get_generation_info_v2 usage.tokens.
        provider="cohere",
        mark="token_count.total_tokens",
        lacks="billed_input_tokens",
        is_billed=True,
        problem="the units that are billed: the client's streams do not tell the tokens",
    ),
    Quirk(
        provider="cohere",
        mark="token_count.input_tokens",
        lacks="billed_input_tokens",
        problem="the tokens that the model saw: the client does not tell how many of them are billed",
    ),
    Quirk(
        # langchain_mistralai's _convert_chunk_to_message_chunk copies three counts.
        provider="mistral",
        lacks="cache_read",
        problem="the client's streams do not tell which tokens were cached",
    ),
    Quirk(
        # langchain_openai's _create_usage_metadata, which ChatXAI's streams go by, has no place for either.
        provider="xai",
        lacks="search_sources",
        problem="the client's streams do not tell what xAI says it charged, nor its tools: the cost is by tokens",
    ),
)
