"""Requests Nebuly refuses; SETUP sends one interaction."""

from __future__ import annotations

from typing import Any

from tests.testing.wrong_requests.wrong import Request, Wrong, without

V2 = "/event-ingestion/api/v2/events/trace_interaction"
V3 = "/event-ingestion/api/v3/events/trace_interaction"
FEEDBACK = "/event-ingestion/api/v1/events/feedback"
TAGS = "/event-ingestion/api/v2/events/tags"
MODEL_STEP = {
    "model": "m",
    "messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}],
    "output": "ho",
    "input_tokens": 3,
    "output_tokens": 2,
}
RETRIEVAL_STEP = {"source": "search", "input": "hi", "outputs": ["a", "b"]}
EMBEDDING_STEP = {"model": "e", "input": "hi", "input_tokens": 1}


def said(**changes: Any) -> dict[str, Any]:
    good = {
        "conversation_id": "c",
        "input": "hi",
        "output": "ho",
        "time_start": "2025-10-09T08:53:20.000Z",
        "time_end": "2025-10-09T08:53:21.000Z",
        "end_user": "u",
        "tags": {"env": "dev"},
    }
    return good | changes


def trace(interaction: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    steps = [RETRIEVAL_STEP, EMBEDDING_STEP, MODEL_STEP]
    return {"interaction": interaction or said(), "traces": steps, "anonymize": False} | changes


SETUP: list[Request] = [("POST", V2, trace())]
PLACE = {"end_user": "u", "input": "hi", "output": "ho", "timestamp": "2025-10-09T08:53:30Z"}
UP = {"slug": "thumbs_up"}


def wrong_turn(name: str, reason: str, at: str = "", /, **changes: Any) -> Wrong:
    return Wrong(name, V2, trace(said(**changes)), f"interaction{at and '.'}{at}: {reason}", 422)


def wrong_step(name: str, reason: str, at: str, step: dict[str, Any], path: str = V2) -> Wrong:
    return Wrong(name, path, trace(traces=[step]), f"traces.0.{at}: {reason}", 422)


def wrong_item(name: str, reason: str, item: dict[str, Any], at: str = "") -> Wrong:
    return Wrong(name, V2, trace(feedback_actions=[item]), f"feedback_actions.0{at}: {reason}", 422)


WRONG: list[Wrong] = [
    wrong_turn("tag as number", "Input should be a valid string", "tags.n", tags={"n": 1}),
    wrong_turn("tag as list", "Input should be a valid string", "tags.list", tags={"list": ["a"]}),
    wrong_turn(
        "null tag",
        "must not be null, leave the key out (Input should be a valid string)",
        "tags.none",
        tags={"none": None},
    ),
    wrong_turn("tags as list", "Input should be a valid dictionary", "tags", tags=["a"]),
    wrong_turn("no user text", "must not be empty", "input", input=""),
    wrong_turn("no output", "must not be empty", "output", output="  "),
    wrong_turn("empty end user", "must not be empty", "end_user", end_user=""),
    wrong_turn("input as object", "Input should be a valid string", "input", input={"text": "hi"}),
    wrong_turn("time as number", "Input should be a valid string", "time_start", time_start=1760000000000),
    wrong_turn("time without zone", "has no time zone", "time_end", time_end="2025-10-09T08:53:21"),
    wrong_turn("end before start", "time_end is before time_start", time_end="2025-10-09T08:53:19Z"),
    wrong_turn("error field", "unknown key", "error", error="boom"),
    wrong_turn("feature_flag", "unknown key", "feature_flag", feature_flag=["a"]),
    Wrong(
        "no conversation",
        V2,
        trace(without(said(), "conversation_id")),
        "interaction.conversation_id: required key is missing",
        422,
    ),
    Wrong("no end user", V2, trace(without(said(), "end_user")), "interaction.end_user: required key is missing", 422),
    Wrong("no anonymize", V2, without(trace(), "anonymize"), "anonymize: required key is missing", 422),
    Wrong("anonymize as text", V2, trace(anonymize="true"), "anonymize: Input should be a valid boolean", 422),
    Wrong("no traces", V2, without(trace(), "traces"), "traces: required key is missing", 422),
    Wrong("array", V2, [trace()], "Input should be a valid dictionary", 422),
    Wrong("user_feedback in v2", V2, trace(user_feedback=[]), "user_feedback: unknown key", 422),
    Wrong("feedback_actions in v3", V3, trace(feedback_actions=[]), "feedback_actions: unknown key", 422),
    wrong_step(
        "parts as content",
        "Input should be a valid string",
        "llm.messages.0.content",
        MODEL_STEP | {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
    ),
    wrong_step(
        "null content",
        "must not be null, leave the key out (Input should be a valid string)",
        "llm.messages.0.content",
        MODEL_STEP | {"messages": [{"role": "user", "content": None}]},
    ),
    wrong_step(
        "message role",
        "Input should be 'system', 'user', 'assistant' or 'tool'",
        "llm.messages.0.role",
        MODEL_STEP | {"messages": [{"role": "ai", "content": "hi"}]},
    ),
    wrong_step(
        "assistant turn last",
        "must end with a user turn",
        "llm.messages",
        MODEL_STEP | {"messages": [{"role": "assistant", "content": "ho"}]},
    ),
    wrong_step("cost in v2", "unknown key", "llm.cost", MODEL_STEP | {"cost": 12}),
    wrong_step("cost in dollars", "Input should be a valid integer", "llm.cost", MODEL_STEP | {"cost": 0.000012}, V3),
    wrong_step(
        "negative tokens",
        "Input should be greater than or equal to 0",
        "llm.input_tokens",
        MODEL_STEP | {"input_tokens": -1},
    ),
    wrong_step("no model", "required key is missing", "llm.model", without(MODEL_STEP, "model")),
    wrong_step("times on a step", "unknown key", "llm.time_start", MODEL_STEP | {"time_start": "2025-10-09T08:53:20Z"}),
    wrong_step(
        "outputs as text", "Input should be a valid list", "retrieval.outputs", RETRIEVAL_STEP | {"outputs": "a"}
    ),
    wrong_step(
        "documents as outputs",
        "Input should be a valid string",
        "retrieval.outputs.0",
        RETRIEVAL_STEP | {"outputs": [{"text": "a"}]},
    ),
    wrong_step(
        "texts as input of embedding",
        "Input should be a valid string",
        "embedding.input",
        EMBEDDING_STEP | {"input": ["hi"]},
    ),
    wrong_item("comment without text", "comment needs a text", {"slug": "comment"}),
    wrong_item("comment of a blank", "comment needs a text", {"slug": "comment", "text": " "}),
    wrong_item("text on regenerate", "regenerate takes no text", {"slug": "regenerate", "text": "again"}),
    wrong_item("rating without value", "a value belongs to rating, and to nothing else", {"slug": "rating"}),
    wrong_item("rating of six", "Input should be less than or equal to 5", {"slug": "rating", "value": 6}, ".value"),
    Wrong(
        "feedback before its interaction",
        FEEDBACK,
        {"metadata": PLACE | {"input": "other"}, "action": UP},
        "metadata: no interaction of this end_user, input and output was sent before",
        422,
    ),
    Wrong(
        "feedback too early",
        FEEDBACK,
        {"metadata": PLACE | {"timestamp": "2025-10-09T08:53:20.5Z"}, "action": UP},
        "metadata.timestamp: must be later than the end of the interaction",
        422,
    ),
    Wrong(
        "action and feedback",
        FEEDBACK,
        {"metadata": PLACE, "action": UP, "feedback": UP},
        "needs the item under action or under feedback",
        422,
    ),
    Wrong(
        "tags by timestamp",
        TAGS,
        {"tags": {}, "metadata": {"end_user": "u", "timestamp": "2025-10-09T08:53:20Z"}},
        "metadata.time_start: required key is missing; metadata.timestamp: unknown key",
        422,
    ),
    Wrong(
        "tags before their interaction",
        TAGS,
        {"tags": {}, "metadata": {"end_user": "u", "time_start": "2025-10-09T08:53:19Z"}},
        "metadata: no interaction of this end_user and time_start was sent before",
        422,
    ),
]
