"""Finds the finish reason of an answer, under every provider's name for it. One table for both frameworks.

The reason is recorded in the provider's own words (`length`, `max_tokens`, `MAX_TOKENS`): its documentation explains
them, and no two providers have the same list.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from eventtree.content.python_values import items_of

NAMES = ("finish_reason", "stop_reason", "done_reason", "finishReason", "stopReason", "completionReason")
"""Keys of an answer, in the order in which they count (vLLM's `stop_reason` is the stop text beside `finish_reason`).

=====================================  ==============================================================================
`finish_reason`                        OpenAI's Chat Completions and all that speak it, Mistral; Cohere:
                                       docs.cohere.com/reference/chat; langchain-google-genai's name of Gemini's
`stop_reason`                          docs.anthropic.com/en/api/messages; Llama on Bedrock
`done_reason`                          github.com/ollama/ollama/blob/main/docs/api.md
`finishReason`                         ai.google.dev/api/generate-content#candidate
`stopReason`                           docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
`completionReason`                     docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html
=====================================  ==============================================================================
"""

INNER = (
    ("incomplete_details", "reason"),
    ("prompt_feedback", "block_reason"),
    ("promptFeedback", "blockReason"),
    ("messageStop", "stopReason"),
    ("messageStop", "stop_reason"),
)
"""Keys inside another of the answer: OpenAI's Responses (platform.openai.com/docs/api-reference/responses),
Gemini where it refused the prompt (ai.google.dev/api/generate-content#promptfeedback), Bedrock's Converse stream.
"""

PLACES = frozenset({*NAMES, *(outer for outer, _ in INNER), "object"})
"""All keys that may hold the finish reason."""

LISTS = ("choices", "candidates", "results", "outputs", "generations")
"""Lists of answers in a provider's body: OpenAI, Gemini, Titan, Mistral on Bedrock, Cohere's text models."""

ENDS = frozenset({"completed", "incomplete", "failed", "cancelled"})
"""The final `status` of an OpenAI Responses body; while it streams, it is `in_progress`."""

UNSPECIFIED = "FINISH_REASON_UNSPECIFIED"
JOINED = re.compile(r"(.{4,100}?)\1+$")

Get = Callable[[Any, str], Any]


def entry(body: Any, name: str) -> Any:
    """An entry of a dict; None of anything else."""
    return body.get(name) if isinstance(body, dict) else None


def finish_reason(body: Any, get: Get = entry) -> Any:
    """The finish reason in a message's `response_metadata`, a generation's info or a provider's body, or None.

    `get` reads an entry of an object that may not be a dict.
    """
    if body is None:
        return None
    if type(body) is dict:
        if type(reason := body.get("finish_reason")) is str and reason:  # the usual case
            return once(reason)
        if PLACES.isdisjoint(body):
            return None
    for name in NAMES:
        if reason := get(body, name):
            return once(reason)
    for outer, name in INNER:
        if (inside := get(body, outer)) and (reason := get(inside, name)):
            return reason
    if get(body, "object") == "response" and get(body, "status") in ENDS:
        return get(body, "status")
    return None


def once(value: Any) -> Any:
    """The single text of one that LangChain has joined with itself: chunks of several choices, or a last one that was
    sent twice, repeat the reason, model and tier. With Vertex AI each chunk has a reason, of which the last one counts.
    """
    if isinstance(value, str) and value.startswith(UNSPECIFIED):
        value = value.replace(UNSPECIFIED, "") or UNSPECIFIED
    # The pattern is tried only if the first four characters are repeated.
    if not isinstance(value, str) or len(value) < 8 or value[:4] not in value[4:]:
        return value
    twice = JOINED.match(value)
    return twice[1] if twice else value


def finish_of_body(body: Any, get: Get) -> Any:
    """The finish reason of a body; if the provider lists its answers, that of the first one."""
    for name in LISTS:
        answers = items_of(get(body, name))
        if answers and (reason := finish_reason(answers[0], get)):
            return reason
    return finish_reason(body, get)
