"""The tables of both generations of Humanloop's API: messages, a model's settings, fields of a Log, errors.

By contracts/humanloop-v4.md (3.2, 3.8) and humanloop-v5.md (2.3, 2.9); the parts of a message also by the published v4
specification (humanloop-docs, `ChatMessageWithToolCall`). Tables here are bases: each generation closes its own.
"""

from __future__ import annotations

from typing import Annotated, Literal, Required

from pydantic import Field
from typing_extensions import TypedDict

from eventtree.testing.contracts.contract import Route, VendorRules, VendorState, detail_body
from eventtree.testing.contracts.fields import Amount, Count, IsoTime, Object, Text, closed


@closed
class FunctionCall(TypedDict):  # The arguments are text
    name: str
    arguments: str


@closed
class ToolCall(TypedDict):  # As OpenAI's
    id: str
    type: Literal["function"]
    function: FunctionCall


@closed
class ImageUrl(TypedDict, total=False):  # The address of an image
    url: Required[str]
    detail: Literal["high", "low", "auto"]


@closed
class Part(TypedDict, total=False):  # A part of a message's content
    type: Required[Literal["text", "image_url"]]
    text: str
    image_url: ImageUrl


class MessageFields(TypedDict, total=False):  # Content may be left out, but is never null
    content: str | list[Part]
    name: str
    tool_call_id: str
    tool_calls: list[ToolCall]


@closed
class Message(MessageFields, total=False):  # A message of v4, and of v5 in the dialect trace_status
    role: Required[Literal["user", "assistant", "system", "tool"]]


class ModelFields(TypedDict, total=False):  # The fields that make a version of a model: of a v4 `config`, a v5 kernel
    model: Required[Text]
    endpoint: Literal["complete", "chat", "edit"]
    max_tokens: Annotated[int, Field(ge=-1)]
    temperature: float
    top_p: float
    stop: str | list[str]
    presence_penalty: float
    frequency_penalty: float
    other: Object
    seed: int
    response_format: Object


class LogFields(TypedDict, total=False):  # Fields that every Log may have
    created_at: IsoTime
    inputs: Object
    output: str
    error: str
    stdout: str
    provider_request: Object
    provider_response: Object
    source: str
    metadata: Object
    save: bool
    source_datapoint_id: str
    environment: str


class TokenFields(TypedDict, total=False):  # The tokens and US dollars of a model call
    prompt_tokens: Count
    output_tokens: Count
    prompt_cost: Amount
    output_cost: Amount


def humanloop(version: str, routes: tuple[Route, ...], state: type[VendorState]) -> VendorRules:
    """All the server knows of one generation: both take an X-API-KEY and refuse as FastAPI does."""
    return VendorRules(
        name=f"humanloop_{version}",
        prefixes=(f"/{version}",),
        routes=routes,
        state=state,
        auth="x-api-key",
        refusal_status=422,
        error_body=detail_body,
        base=f"/{version}",
    )
