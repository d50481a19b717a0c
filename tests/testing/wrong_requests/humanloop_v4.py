"""Requests Humanloop v4 refuses; SETUP logs a root in one session."""

from __future__ import annotations

from typing import Any

from tests.testing.wrong_requests.wrong import Request, Wrong, without

LOGS = "/v4/logs"


def log(**changes: Any) -> dict[str, Any]:
    good = {
        "project": "rag",
        "session_reference_id": "session",
        "reference_id": "child",
        "parent_reference_id": "root",
        "config": {"type": "model", "model": "m", "provider": "openai", "endpoint": "chat"},
        "inputs": {"question": "hi"},
        "messages": [{"role": "user", "content": "hi"}],
        "output": "ho",
        "prompt_tokens": 3,
        "duration": 0.5,
        "created_at": "2025-10-09T08:53:20Z",
    }
    return good | changes


ROOT_LOG = without(
    log(reference_id="root", config={"type": "tool", "name": "chain"}), "parent_reference_id", "messages"
)
SETUP: list[Request] = [("POST", LOGS, ROOT_LOG)]
NULL = "must not be null, leave the key out"


def wrong_log(name: str, reason: str, at: str = "", status: int = 422, /, **changes: Any) -> Wrong:
    return Wrong(name, LOGS, log(**changes), f"{at}: {reason}" if at else reason, status)


def config(**changes: Any) -> dict[str, Any]:
    return {"type": "model", "model": "m"} | changes


PROVIDERS = "Input should be 'openai', 'openai_azure', 'mock', 'anthropic', 'cohere', 'replicate', 'google' or 'groq'"
WRONG: list[Wrong] = [
    wrong_log("unknown key", "unknown key", "user", user="u"),
    wrong_log("null output", f"{NULL} (Input should be a valid string)", "output", output=None),
    wrong_log(
        "null parent", f"{NULL} (Input should be a valid string)", "parent_reference_id", parent_reference_id=None
    ),
    wrong_log(
        "null content",
        f"{NULL} (Input should be a valid string); messages.0.content.list[Part]: "
        f"{NULL} (Input should be a valid list)",
        "messages.0.content.str",
        messages=[{"role": "user", "content": None}],
    ),
    wrong_log(
        "developer message",
        "Input should be 'user', 'assistant', 'system' or 'tool'",
        "messages.0.role",
        messages=[{"role": "developer", "content": "hi"}],
    ),
    wrong_log("unknown key in config", "unknown key", "config.model.framework", config=config(framework="langchain")),
    wrong_log("unknown provider", PROVIDERS, "config.model.provider", config=config(provider="mistral")),
    wrong_log("config without model", "required key is missing", "config.model.model", config={"type": "model"}),
    wrong_log("tool config without name", "required key is missing", "config.tool.name", config={"type": "tool"}),
    wrong_log("generic config", "config.type must be model or tool", "config", config={"type": "generic", "name": "c"}),
    wrong_log("output as object", "Input should be a valid string", "output", output={"text": "ho"}),
    wrong_log("inputs as text", "Input should be a valid dictionary", "inputs", inputs="hi"),
    wrong_log("duration as text", "Input should be a valid number", "duration", duration="0.5"),
    wrong_log("duration in ns", "Input should be less than or equal to 86400", "duration", duration=5e8),
    wrong_log("time without zone", "has no time zone", "created_at", created_at="2025-10-09T08:53:20"),
    wrong_log("tokens as float", "Input should be a valid integer", "prompt_tokens", prompt_tokens=3.0),
    wrong_log("both session ids", "takes at most one of session_id and session_reference_id", session_id="sesh_1"),
    wrong_log("both parents", "takes at most one of parent_id and parent_reference_id", parent_id="data_1"),
    wrong_log(
        "unknown parent", "parent was not sent before its child", "parent_reference_id", parent_reference_id="nobody"
    ),
    wrong_log(
        "parent in another session",
        "parent is in another session",
        "parent_reference_id",
        session_reference_id="new",
    ),
    Wrong(
        "reference_id with other content",
        LOGS,
        without(log(reference_id="root"), "parent_reference_id"),
        "reference_id: id already seen with other content",
        409,
    ),
    Wrong("unknown project", LOGS, without(log(project_id="pr_nobody"), "project"), "project_id: unknown project", 404),
    Wrong(
        "unknown session",
        LOGS,
        without(log(session_id="sesh_nobody"), "session_reference_id"),
        "session_id: unknown session",
        404,
    ),
    Wrong(
        "child in no session",
        LOGS,
        without(log(), "session_reference_id"),
        "parent_reference_id: a child needs session_id or session_reference_id",
        422,
    ),
    Wrong(
        "unknown parent id",
        LOGS,
        without(log(parent_id="data_nobody"), "parent_reference_id"),
        "parent_id: parent was not sent before its child",
        422,
    ),
    Wrong("no project", LOGS, without(log(), "project"), "needs project or project_id", 422),
    Wrong("no config", LOGS, without(log(), "config"), "needs config or config_id", 422),
    Wrong(
        "parent in the same array",
        LOGS,
        [log(reference_id="a"), log(reference_id="b", parent_reference_id="a")],
        "1.parent_reference_id: may not refer to a log in the same request",
        422,
    ),
    Wrong("twice in one array", LOGS, [log(), log()], "1.reference_id: reference_id comes twice in one request", 422),
    Wrong("wrapped array", LOGS, {"logs": [log()]}, "logs: unknown key", 422),
    Wrong("update of unknown log", "/v4/logs/data_nobody", {"output": "ho"}, "path: unknown log", 404, "PATCH"),
    Wrong(
        "update without reference",
        LOGS,
        {"output": "ho"},
        "query.reference_id: required query parameter is missing",
        422,
        "PATCH",
    ),
    Wrong(
        "update of unknown reference",
        "/v4/logs?reference_id=nobody",
        {"output": "ho"},
        "query.reference_id: unknown log",
        404,
        "PATCH",
    ),
    Wrong("update of inputs", "/v4/logs?reference_id=root", {"inputs": {}}, "inputs: unknown key", 422, "PATCH"),
    Wrong(
        "feedback on unknown log",
        "/v4/feedback",
        {"type": "rating", "value": "good", "data_id": "data_nobody"},
        "data_id: unknown log",
        404,
    ),
    Wrong(
        "feedback as bool",
        "/v4/feedback",
        {"type": "rating", "value": True, "data_id": "data_1"},
        "value: Input should be a valid string",
        422,
    ),
    Wrong(
        "feedback without value",
        "/v4/feedback",
        {"type": "rating", "data_id": "data_1"},
        "needs a value, or unset: true",
        422,
    ),
    Wrong(
        "feedback by reference",
        "/v4/feedback",
        {"type": "rating", "value": "good", "reference_id": "root"},
        "data_id: required key is missing; reference_id: unknown key",
        422,
    ),
    Wrong("project without name", "/v4/projects", {}, "name: required key is missing", 422),
    Wrong(
        "evaluation without datapoint",
        "/v4/evaluations/ev_1/log",
        {"log": log()},
        "datapoint_id: required key is missing",
        422,
    ),
]
