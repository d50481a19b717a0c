"""Nebuly by contracts/nebuly.md: trace_interaction v2 and v3, feedback and tags.

State: feedback and tags are about an interaction that was sent before. Interactions have no id of their own: one that
comes again word for word is taken again, and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, Required

from pydantic import AfterValidator, Discriminator, Field, Tag
from typing_extensions import TypedDict

from eventtree.testing.contracts.contract import (
    Call,
    Reply,
    Route,
    VendorRules,
    VendorState,
    detail_body,
    fingerprint,
    refuse,
)
from eventtree.testing.contracts.fields import Count, IsoTime, Text, closed, parse, time_order, wrong, wrong_if

NEEDS_TEXT = {"copy_input", "copy_output", "paste", "comment", "edit"}  # 4.2, 'Feedback item'
NON_JSON = ("", "Accepted")  # 6.7: empty or not JSON, by turns


def feedback_has_its_fields(item: Any) -> Any:
    """4.2: which slug goes with which text and value."""
    slug = item["slug"]
    if slug in NEEDS_TEXT and not item.get("text", "").strip():
        raise wrong(f"{slug} needs a text")
    if slug == "regenerate" and "text" in item:
        raise wrong("regenerate takes no text")
    if (slug == "rating") != ("value" in item):
        raise wrong("a value belongs to rating, and to nothing else")
    return item


@closed
class FeedbackFields(TypedDict, total=False):  # 4.2, 'Feedback item'
    slug: Required[
        Literal[
            "thumbs_up", "thumbs_down", "copy_input", "copy_output", "paste", "comment", "regenerate", "edit", "rating"
        ]
    ]
    text: str
    value: Annotated[int, Field(ge=1, le=5)]


FeedbackItem = Annotated[FeedbackFields, AfterValidator(feedback_has_its_fields)]


@closed
class Message(TypedDict):  # 4.2: content is a plain string
    role: Literal["system", "user", "assistant", "tool"]
    content: str


Messages = Annotated[  # 4.2: the list excludes the output
    list[Message], wrong_if("must end with a user turn", lambda turns: not turns or turns[-1]["role"] != "user")
]


@closed
class ModelStepV2(TypedDict, total=False):  # 4.2, step LLM
    model: Required[Text]
    messages: Required[Messages]
    output: Required[str]
    input_tokens: Count
    output_tokens: Count


@closed
class ModelStepV3(ModelStepV2, total=False):  # 4.2: v3 adds the cost, in whole micro-dollars
    cost: Count


@closed
class RetrievalStep(TypedDict):  # 4.2, step Retrieval
    source: Text
    input: str
    outputs: list[str]


@closed
class EmbeddingStep(TypedDict, total=False):  # 4.2, step Embedding
    model: Required[Text]
    input: Required[str]
    input_tokens: Count


def kind_of_step(step: Any) -> str:
    """4.2: steps have no type tag, their keys differ."""
    keys: set[str] = set(step) if isinstance(step, dict) else set()
    if keys & {"messages", "output", "output_tokens", "cost"}:
        return "llm"
    return "retrieval" if keys & {"source", "outputs"} else "embedding"


Other = Annotated[RetrievalStep, Tag("retrieval")] | Annotated[EmbeddingStep, Tag("embedding")]
StepV2 = Annotated[Annotated[ModelStepV2, Tag("llm")] | Other, Discriminator(kind_of_step)]
StepV3 = Annotated[Annotated[ModelStepV3, Tag("llm")] | Other, Discriminator(kind_of_step)]


@closed
class EarlierTurn(TypedDict):  # 4.2, previous_interactions
    input: str
    output: str


@closed
class InteractionV3(TypedDict, total=False):  # 4.2, `interaction`
    conversation_id: Required[Text]
    input: Required[Text]
    output: Required[Text]
    time_start: Required[IsoTime]
    time_end: Required[IsoTime]
    end_user: Required[Text]
    tags: dict[str, str]
    hide_content: bool
    end_user_group_profile: str
    feature_flags: list[str]


@closed
class InteractionV2(InteractionV3, total=False):  # 4.2: one vintage of v2 also takes the turns before
    previous_interactions: list[EarlierTurn]


in_order = time_order("time_start", "time_end")


@closed
class TraceV2(TypedDict, total=False):  # 4.2, v2
    interaction: Required[Annotated[InteractionV2, in_order]]
    traces: Required[list[StepV2]]
    anonymize: Required[bool]
    feedback_actions: list[FeedbackItem]


@closed
class TraceV3(TypedDict, total=False):  # 4.2, v3
    interaction: Required[Annotated[InteractionV3, in_order]]
    traces: Required[list[StepV3]]
    anonymize: Required[bool]
    user_feedback: list[FeedbackItem]


@closed
class FeedbackPlace(TypedDict, total=False):  # 4.3, metadata of /v1/events/feedback
    end_user: Required[Text]
    input: Required[str]
    output: Required[str]
    timestamp: Required[IsoTime]
    anonymize: bool
    end_user_group_profile: str


@closed
class FeedbackBody(TypedDict, total=False):  # 4.3, /v1/events/feedback
    metadata: Required[FeedbackPlace]
    action: FeedbackItem
    feedback: FeedbackItem


ONE_NAME = wrong_if(
    "needs the item under action or under feedback", lambda body: ("action" in body) == ("feedback" in body)
)


@closed
class TagsPlace(TypedDict, total=False):  # 4.3, metadata of /v2/events/tags
    end_user: Required[Text]
    time_start: Required[IsoTime]
    input: str
    output: str


@closed
class TagsBody(TypedDict):  # 4.3, /v2/events/tags
    tags: dict[str, str]
    metadata: TagsPlace


@dataclass
class NebulyState(VendorState):
    """The end of the latest interaction of each (user, input, output), and the start of each interaction."""

    ends: dict[tuple[str, str, str], datetime] = field(default_factory=dict)
    starts: set[tuple[str, datetime]] = field(default_factory=set)


def post_interaction(table: type) -> Callable[[Call, NebulyState], Reply]:
    """Make the handler of trace_interaction in one version."""

    def handle(call: Call, state: NebulyState) -> Reply:
        turn = parse(table, call.body)["interaction"]
        start, end = datetime.fromisoformat(turn["time_start"]), datetime.fromisoformat(turn["time_end"])
        key = (turn["end_user"], turn["input"], turn["output"])
        state.ends[key] = max(end, state.ends.get(key, end))
        state.starts.add((turn["end_user"], start))
        answer = NON_JSON[len(state.kept) % len(NON_JSON)]
        state.keep("event", f"{turn['conversation_id']}/{fingerprint(call.body)[:16]}", call.body)
        return Reply(answer)

    return handle


def post_feedback(call: Call, state: NebulyState) -> Reply:
    """4.3: linked by end_user, input and output; later than the end of what it is about."""
    about = parse(Annotated[FeedbackBody, ONE_NAME], call.body)["metadata"]
    end = state.ends.get((about["end_user"], about["input"], about["output"]))
    if end is None:
        raise refuse("no interaction of this end_user, input and output was sent before", "metadata")
    if datetime.fromisoformat(about["timestamp"]) <= end:
        raise refuse("must be later than the end of the interaction", "metadata", "timestamp")
    state.keep("feedback", about["end_user"], call.body)
    return Reply("")


def post_tags(call: Call, state: NebulyState) -> Reply:
    """4.3: linked by end_user and time_start."""
    about = parse(TagsBody, call.body)["metadata"]
    if (about["end_user"], datetime.fromisoformat(about["time_start"])) not in state.starts:
        raise refuse("no interaction of this end_user and time_start was sent before", "metadata")
    state.keep("tags", about["end_user"], call.body)
    return Reply("")


NEBULY = VendorRules(
    name="nebuly",
    prefixes=("/event-ingestion",),
    routes=(
        Route("POST", "/event-ingestion/api/v2/events/trace_interaction", post_interaction(TraceV2)),
        Route("POST", "/event-ingestion/api/v3/events/trace_interaction", post_interaction(TraceV3)),
        Route("POST", "/event-ingestion/api/v1/events/feedback", post_feedback),
        Route("POST", "/event-ingestion/api/v2/events/tags", post_tags),
    ),
    state=NebulyState,
    auth="bearer",
    refusal_status=422,
    error_body=detail_body,
)
