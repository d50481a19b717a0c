"""Requests Humanloop v5 refuses; SETUP opens one trace, completes another and logs a prompt that is in no trace."""

from __future__ import annotations

from typing import Any

from tests.testing.wrong_requests.wrong import Request, Wrong, without

PROMPT = "/v5/prompts/log"
TOOL = "/v5/tools/log"
FLOW = "/v5/flows/log"
JUDGE = "/v5/evaluators/log"


def flow(**changes: Any) -> dict[str, Any]:
    good = {
        "path": "rag/chain",
        "flow": {"attributes": {"framework": "langchain"}},
        "log_id": "new-flow",
        "log_status": "incomplete",
        "inputs": {"question": "hi"},
        "start_time": "2025-10-09T08:53:20Z",
    }
    return good | changes


def prompt(**changes: Any) -> dict[str, Any]:
    good = {
        "path": "rag/llm",
        "prompt": {"model": "m", "provider": "openai"},
        "log_id": "new-prompt",
        "trace_parent_id": "open-flow",
        "messages": [{"role": "user", "content": "hi"}],
        "output_message": {"role": "assistant", "content": "ho"},
        "prompt_tokens": 3,
        "prompt_cost": 0.001,
        "start_time": "2025-10-09T08:53:20Z",
        "end_time": "2025-10-09T08:53:20.500000Z",
        "provider_latency": 0.5,
    }
    return good | changes


def tool(**changes: Any) -> dict[str, Any]:
    good = {
        "path": "rag/search",
        "tool": {"function": {"name": "search", "description": "finds"}},
        "log_id": "new-tool",
        "trace_parent_id": "open-flow",
        "inputs": {"query": "hi"},
        "output": "[]",
    }
    return good | changes


SETUP: list[Request] = [
    ("POST", FLOW, flow(log_id="open-flow")),
    ("POST", FLOW, flow(log_id="done-flow")),
    ("POST", PROMPT, prompt(log_id="done-prompt", trace_parent_id="done-flow")),
    ("PATCH", "/v5/flows/logs/done-flow", {"log_status": "complete", "output": "ho"}),
    ("POST", PROMPT, without(prompt(log_id="lonely-prompt"), "trace_parent_id")),
]
NULL_TEXT = "must not be null, leave the key out (Input should be a valid string)"


def wrong_prompt(name: str, reason: str, at: str = "", status: int = 422, /, **changes: Any) -> Wrong:
    return Wrong(name, PROMPT, prompt(**changes), f"{at}: {reason}" if at else reason, status)


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"q": 1}}}
WRONG: list[Wrong] = [
    wrong_prompt("unknown key", "unknown key", "tags", tags=["a"]),
    wrong_prompt("log_status on a prompt", "unknown key", "log_status", log_status="complete"),
    wrong_prompt("null output", NULL_TEXT, "output", output=None),
    wrong_prompt("output as object", "Input should be a valid string", "output", output={"text": "ho"}),
    wrong_prompt(
        "null content",
        "must not be null, leave the key out (Input should be a valid string); messages.0.content.list[Part]: "
        "must not be null, leave the key out (Input should be a valid list)",
        "messages.0.content.str",
        messages=[{"role": "assistant", "content": None}],
    ),
    wrong_prompt(
        "arguments as object",
        "Input should be a valid string",
        "messages.0.tool_calls.0.function.arguments",
        messages=[{"role": "assistant", "tool_calls": [CALL]}],
    ),
    wrong_prompt(
        "message role",
        "Input should be 'user', 'assistant', 'system', 'tool' or 'developer'",
        "messages.0.role",
        messages=[{"role": "human", "content": "hi"}],
    ),
    wrong_prompt(
        "kernel without model",
        "required key is missing; prompt.str: Input should be a valid string",
        "prompt.PromptKernel.model",
        prompt={"provider": "openai"},
    ),
    wrong_prompt("tokens as text", "Input should be a valid integer", "prompt_tokens", prompt_tokens="3"),
    wrong_prompt("negative cost", "Input should be greater than or equal to 0", "prompt_cost", prompt_cost=-0.1),
    wrong_prompt("time without zone", "has no time zone", "start_time", start_time="2025-10-09T08:53:20"),
    wrong_prompt("time as number", "Input should be a valid string", "end_time", end_time=1760000000),
    wrong_prompt("time that is none", "is not an ISO-8601 time", "created_at", created_at="yesterday"),
    wrong_prompt("end before start", "end_time is before start_time", end_time="2025-10-09T08:53:19Z"),
    wrong_prompt("latency in ms", "provider_latency is longer than the span: it is in seconds", provider_latency=500.0),
    wrong_prompt(
        "unknown parent", "parent was not sent before its child", "trace_parent_id", 404, trace_parent_id="nobody"
    ),
    wrong_prompt("complete trace", "trace is already complete", "trace_parent_id", 409, trace_parent_id="done-flow"),
    wrong_prompt(
        "log in a complete trace", "trace is already complete", "trace_parent_id", 409, trace_parent_id="done-prompt"
    ),
    wrong_prompt(
        "parent in no trace",
        "parent is in no trace: its root is no flow",
        "trace_parent_id",
        409,
        trace_parent_id="lonely-prompt",
    ),
    wrong_prompt(
        "log_id with other content", "id already seen with other content", "log_id", 409, log_id="lonely-prompt"
    ),
    wrong_prompt("unknown file", "unknown prompt file", "id", 404, id="pr_nobody"),
    Wrong("no path", PROMPT, without(prompt(), "path"), "needs path or id", 422),
    Wrong(
        "no kernel",
        PROMPT,
        without(prompt(path="rag/new"), "prompt"),
        "prompt: required key is missing: a new path needs its kernel",
        422,
    ),
    Wrong("array", PROMPT, [prompt()], "Input should be a valid dictionary", 422),
    Wrong("flow without attributes", FLOW, flow(flow={}), "flow.attributes: required key is missing", 422),
    Wrong("flow without status", FLOW, without(flow(), "log_status"), "log_status: required key is missing", 422),
    Wrong("flow status", FLOW, flow(log_status="done"), "log_status: Input should be 'complete' or 'incomplete'", 422),
    Wrong("flow in the other dialect", FLOW, flow(trace_status="incomplete"), "trace_status: unknown key", 422),
    Wrong(
        "complete without outcome",
        FLOW,
        flow(log_status="complete"),
        "log_status: a complete flow needs inputs and one of output, output_message, error",
        422,
    ),
    Wrong(
        "tool without description",
        TOOL,
        tool(tool={"function": {"name": "f"}}),
        "tool.function.description: required key is missing",
        422,
    ),
    Wrong("tool inputs as text", TOOL, tool(inputs="hi"), "inputs: Input should be a valid dictionary", 422),
    Wrong(
        "judgment of nothing", JUDGE, {"path": "rating", "judgment": "good"}, "parent_id: required key is missing", 422
    ),
    Wrong(
        "judgment of unknown log",
        JUDGE,
        {"path": "rating", "parent_id": "nobody", "judgment": "good"},
        "parent_id: the judged log does not exist",
        404,
    ),
    Wrong(
        "update of unknown flow",
        "/v5/flows/logs/nobody",
        {"output": "ho"},
        "path.log_id: unknown flow log",
        404,
        "PATCH",
    ),
    Wrong(
        "update of another kind",
        "/v5/flows/logs/lonely-prompt",
        {"output": "ho"},
        "path.log_id: unknown flow log",
        404,
        "PATCH",
    ),
    Wrong("update of metadata", "/v5/flows/logs/open-flow", {"metadata": {}}, "metadata: unknown key", 422, "PATCH"),
    Wrong(
        "reopened",
        "/v5/flows/logs/done-flow",
        {"log_status": "incomplete"},
        "log_status: a complete trace cannot be reopened",
        409,
        "PATCH",
    ),
    Wrong(
        "update under another file",
        "/v5/prompts/pr_x/log/lonely-prompt",
        {"output": "ho"},
        "path.file_id: the log belongs to another prompt file",
        404,
        "PATCH",
    ),
]
