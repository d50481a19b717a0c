"""Things that a provider bills besides tokens, and only lists in its answer: one row for each, with its source."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventtree.event import Usage

CALLS: Mapping[str, str] = {
    # OpenAI Responses, items of `output`: developers.openai.com/api/docs/pricing, "Built-in tools".
    "web_search_call": "web_searches",
    "file_search_call": "storage_searches",
    "code_interpreter_call": "code_executions",
    # The image's tokens are those of another model and not in `usage`: guides/tools-image-generation.
    "image_generation_call": "image_generations",
    # xAI Responses: docs.x.ai/developers/tools
    "x_search_call": "social_searches",
    # Anthropic, whose streams through LangChain have no `server_tool_use` in the usage:
    # platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool, "Usage and pricing"
    "web_search_tool_result": "web_searches",
}
"""Type of an item in an answer → the unit that is billed. Calls of MCP servers, computers and the app's own shell cost
their tokens alone and are not listed.
"""

ROUNDS: Mapping[str, str] = {
    # platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool and .../build-with-claude/compaction
    "advisor_tool_result": "advisor_message",
    "compaction": "compaction",
}
"""Type of a block in Anthropic's answer → the round that made it, which the sums of the usage do not include.
LangChain's streams keep the block and drop the round.
"""

STANDARD: Mapping[tuple[str, str], str] = {
    ("server_tool_call", "ws"): "web_search_call",
    ("server_tool_call", "fs"): "file_search_call",
    ("server_tool_call", "ci"): "code_interpreter_call",
    ("image", "ig"): "image_generation_call",
}
"""LangChain's standard block (output_version="v1") and the prefix of the id of OpenAI's item → the item's type.
Anthropic's blocks keep their type (`block_type`), and Gemini's code costs its tokens alone.
"""

NOT_BILLED = frozenset({"open_page", "find_in_page", "find", "web_search_tool_result_error"})
"""Types of results without a fee: OpenAI's guides/tools-web-search, "search actions incur a tool call cost";
Anthropic's web-search-tool, "If an error occurs during web search, the web search will not be billed".
"""

ALWAYS_SEARCHES = re.compile(r"-search-(preview|api)\b")
"""OpenAI's chat completion models that search in every request and list no search: guides/tools-web-search."""

QUERIES: Mapping[str, str] = {
    # Gemini, groundingMetadata: ai.google.dev/api/generate-content#GroundingMetadata
    "web_search_queries": "web_searches",
    "webSearchQueries": "web_searches",
    "image_search_queries": "image_searches",
    "imageSearchQueries": "image_searches",
    # Vertex AI: cloud.google.com/vertex-ai/generative-ai/pricing, "Grounding with your data"
    "retrieval_queries": "data_groundings",
    "retrievalQueries": "data_groundings",
}
"""Key of Gemini's grounding metadata with search queries → the unit."""

GROUNDINGS: Mapping[str, str] = {
    # Billed for each request: ai.google.dev/gemini-api/docs/maps-grounding
    "maps": "map_groundings",
}
"""Kind of a grounding chunk that is not of the web → the unit."""

FILES: Mapping[str, str] = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "video_url": "video",
    "media": "",
    "file": "",
}
"""Type of a content block → its modality; "" where its MIME type decides."""

_GENERATION = re.compile(r"gemini-(\d+)")


def billed_queries(unit: str, queries: int, model: str | None) -> int:
    """The queries that Gemini bills: each different one; before Gemini 3, and for the user's data, one a request.

    ai.google.dev/gemini-api/docs/google-search, "Pricing".
    """
    generation = _GENERATION.search(model or "")
    is_by_request = unit == "data_groundings" or (generation is not None and int(generation[1]) < 3)
    return min(queries, 1) if is_by_request else queries


def unpriced_units(usage: Usage, priced: Collection[str]) -> tuple[str, ...]:
    """A problem for each unit without a price. Special tokens count as plain tokens and need none."""
    if not usage.units:
        return ()
    counted = {name: n for name, n in usage.units.items() if n and not name.endswith("_tokens")}
    return tuple(f"{n} {name} have no price" for name, n in counted.items() if name not in priced)
