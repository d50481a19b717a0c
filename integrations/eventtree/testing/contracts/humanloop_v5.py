"""Humanloop v5 by contracts/humanloop-v5.md: one log per request, in two dialects (2.7).

State: a parent must be a log of a trace that is not complete, a log_id comes twice only with the same content, a file
is made by its path and its first kernel, and a flow is completed once it has inputs and an outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Required

from typing_extensions import TypedDict

from eventtree.testing.contracts.contract import Call, Dialect, Json, Reply, Route, VendorState, new_id, refuse
from eventtree.testing.contracts.fields import (
    Amount,
    Count,
    IsoTime,
    Object,
    Text,
    closed,
    parse,
    seconds_between,
    time_order,
    wrong_if,
)
from eventtree.testing.contracts.humanloop import LogFields, Message, MessageFields, ModelFields, TokenFields, humanloop

SLACK_SECONDS = 0.05
OUTCOMES = {"output", "output_message", "error"}  # 2.5, point 3
LogStatus = Literal["complete", "incomplete"]


def latency_after_end(log: Any) -> bool:
    """2.1: provider_latency is in seconds, so it is not longer than the span."""
    elapsed = seconds_between(log, "start_time", "end_time", default=float("inf"))
    return bool(log.get("provider_latency", 0) > elapsed + SLACK_SECONDS)


@closed
class NewMessage(MessageFields, total=False):  # 2.3, dialect log_status
    role: Required[Literal["user", "assistant", "system", "tool", "developer"]]
    thinking: list[Object]


@closed
class ToolFunction(TypedDict, total=False):  # 2.3: `description` is required
    name: Required[Text]
    description: Required[str]
    strict: bool
    parameters: Object


class KernelFields(ModelFields, total=False):  # 2.3, 'Prompt kernel'
    tools: list[ToolFunction]
    linked_tools: list[str]
    attributes: Object


@closed
class PromptKernel(KernelFields, total=False):  # 2.3: the enums of 0.8.38 are open
    provider: Text
    template: str | list[NewMessage]
    template_language: str
    reasoning_effort: str


@closed
class OldPromptKernel(KernelFields, total=False):  # 2.3: the enums of the published specification are closed
    provider: Literal["openai", "openai_azure", "mock", "anthropic", "bedrock", "cohere", "replicate", "google", "groq"]
    template: str | list[Message]


@closed
class AgentKernel(PromptKernel, total=False):  # 2.3: adds max_iterations; tools may be inline or linked
    max_iterations: Count


@closed
class ToolKernel(TypedDict, total=False):  # 2.3, type-specific additions
    function: ToolFunction
    source_code: str
    setup_values: Object
    attributes: Object


@closed
class FlowKernel(TypedDict):  # 2.3: attributes are required
    attributes: Object


class Log(LogFields, total=False):  # 2.3: what all bodies share in both dialects
    path: Text
    id: Text
    trace_parent_id: Text
    start_time: IsoTime
    end_time: IsoTime
    provider_latency: Amount
    user: str


class ModelLog(Log, TokenFields, total=False):  # 2.3, what a prompt's and an agent's log add
    tool_choice: str | Object
    finish_reason: str


class NewModelLog(ModelLog, total=False):  # 2.3, dialect log_status
    log_id: Text
    run_id: str
    messages: list[NewMessage]
    output_message: NewMessage
    reasoning_tokens: Count


@closed
class PromptLog(NewModelLog, total=False):  # 2.3; no log_status (2.7: later removed again)
    prompt: PromptKernel | str


@closed
class OldPromptLog(ModelLog, total=False):  # 2.7: the published specification
    prompt: OldPromptKernel
    messages: list[Message]
    output_message: Message


@closed
class AgentLog(NewModelLog, total=False):  # 2.3
    log_status: LogStatus
    agent: AgentKernel | str


@closed
class ToolLog(Log, total=False):  # 2.3
    log_id: Text
    tool: ToolKernel


@closed
class OldToolLog(Log, total=False):  # 2.7: no log_id
    tool: ToolKernel


@closed
class FlowLog(Log, total=False):  # 2.3; 2.5, point 1: a flow is not of unspecified status
    log_id: Text
    run_id: str
    log_status: Required[LogStatus]
    flow: FlowKernel
    messages: list[NewMessage]
    output_message: NewMessage


@closed
class OldFlowLog(Log, total=False):  # 2.7: trace_status, incomplete by default; log_id is there on flows
    log_id: Text
    trace_status: LogStatus
    flow: FlowKernel


@closed
class OldEvaluatorLog(Log, total=False):  # 2.3, of the published specification
    parent_id: Required[Text]
    judgment: bool | str | list[str] | float | None
    spec: Object


@closed
class EvaluatorLog(OldEvaluatorLog, total=False):  # 2.3: parent_id is required
    log_id: Text
    marked_completed: bool
    output_message: NewMessage


@closed
class OldFlowUpdate(TypedDict, total=False):  # 2.4, of the published specification
    inputs: Object
    output: str | None
    error: str | None
    trace_status: Required[LogStatus]


@closed
class FlowUpdate(TypedDict, total=False):  # 2.4: null unsets output and error (2.1)
    inputs: Object
    output: str | None
    output_message: NewMessage
    error: str | None
    messages: list[NewMessage]
    log_status: LogStatus


@closed
class ToolUpdate(TypedDict, total=False):  # 2.4; log_status is never sent there (2.7)
    output: str | None
    created_at: IsoTime
    error: str | None
    provider_latency: Amount
    stdout: str
    provider_request: Object
    provider_response: Object
    inputs: Object
    source: str
    metadata: Object
    start_time: IsoTime
    end_time: IsoTime


@closed
class PromptUpdate(ToolUpdate, TokenFields, total=False):  # 2.4
    output_message: NewMessage
    reasoning_tokens: Count
    finish_reason: str
    messages: list[NewMessage]
    tool_choice: str | Object


ACROSS = (
    wrong_if("needs path or id", lambda log: not log.keys() & {"path", "id"}),  # 2.3: leaving both out cannot work
    time_order("start_time", "end_time"),
    wrong_if("provider_latency is longer than the span: it is in seconds", latency_after_end),
)
"""Rules that compare several fields of a log."""
TABLES: dict[tuple[Dialect, str], tuple[Any, Any]] = {
    ("log_status", "prompt"): (PromptLog, PromptUpdate),
    ("log_status", "tool"): (ToolLog, ToolUpdate),
    ("log_status", "flow"): (FlowLog, FlowUpdate),
    ("log_status", "agent"): (AgentLog, FlowUpdate),
    ("log_status", "evaluator"): (EvaluatorLog, None),
    ("trace_status", "prompt"): (OldPromptLog, PromptUpdate),
    ("trace_status", "tool"): (OldToolLog, ToolUpdate),
    ("trace_status", "flow"): (OldFlowLog, OldFlowUpdate),
    ("trace_status", "evaluator"): (OldEvaluatorLog, None),
}
"""Dialect and kind → the tables of a log and of its update."""
FILE_PREFIXES = {"prompt": "pr_", "tool": "tl_", "flow": "fl_", "agent": "ag_", "evaluator": "ev_"}


@dataclass
class KnownLog:
    """A log as the server knows it: `status` only on flows and agents, `filled` are the keys it has by now."""

    kind: str
    file_id: str
    parent: str | None
    status: str | None
    filled: set[str]


@dataclass
class HumanloopV5State(VendorState):
    """The logs of Humanloop, and the file of each kind and path."""

    logs: dict[str, KnownLog] = field(default_factory=dict)
    files: dict[tuple[str, str], str] = field(default_factory=dict)


def tables(kind: str, state: VendorState) -> tuple[Any, Any]:
    """Pick the dialect's tables; agents exist only in the newer one (2.2)."""
    found = TABLES.get((state.options.humanloop_dialect, kind))
    if found is None:
        raise refuse(f"{kind}s do not exist in this version", status=404)
    return found


def check_parent(parent: str | None, state: HumanloopV5State) -> None:
    """2.5: a parent is a flow or a log already in a trace, and no flow above it is complete."""
    root = None
    while parent is not None:
        if parent not in state.logs:
            raise refuse("parent was not sent before its child", "trace_parent_id", status=404)
        root = state.logs[parent]
        if root.status == "complete":
            raise refuse("trace is already complete", "trace_parent_id", status=409)
        parent = root.parent
    if root is not None and root.kind not in ("flow", "agent"):
        raise refuse("parent is in no trace: its root is no flow", "trace_parent_id", status=409)


def file_of(kind: str, log: Json, state: HumanloopV5State) -> str:
    """2.3: an id must exist; a new path needs the kernel of its first version."""
    if "id" in log:
        if log["id"] not in {ident for (of, _), ident in state.files.items() if of == kind}:
            raise refuse(f"unknown {kind} file", "id", status=404)
        return str(log["id"])
    if kind != "evaluator" and kind not in log and (kind, log["path"]) not in state.files:
        raise refuse("required key is missing: a new path needs its kernel", kind)
    return state.files.get((kind, log["path"])) or new_id(FILE_PREFIXES[kind])


def answer(kind: str, log_id: str, log: KnownLog, body: Json) -> Reply:
    """2.2: the ids a child can use; log_id is echoed as id."""
    ids = {"id": log_id, f"{kind}_id": log.file_id, "version_id": f"{log.file_id}_v1"}
    if kind == "evaluator":
        ids["parent_id"] = body["parent_id"]
    return Reply(ids if log.status is None else {**ids, "log_status": log.status})


def status_of(kind: str, body: Json) -> str | None:
    """2.5: flows and agents begin as incomplete."""
    if kind not in ("flow", "agent"):
        return None
    return str(body.get("log_status") or body.get("trace_status") or "incomplete")


def post_log(kind: str) -> Callable[[Call, HumanloopV5State], Reply]:
    """Make the handler of POST /{kind}s/log."""

    def handle(call: Call, state: HumanloopV5State) -> Reply:
        body = parse(Annotated[tables(kind, state)[0], *ACROSS], call.body)
        log_id = body.get("log_id") or new_id("log_")
        if state.is_repeat("event", log_id, call.body, "log_id"):
            keep_log(kind, log_id, call.body, state)
            return answer(kind, log_id, state.logs[log_id], body)
        check_parent(body.get("trace_parent_id"), state)
        if "parent_id" in body and body["parent_id"] not in state.logs:  # 2.3: an evaluator judges a log that exists
            raise refuse("the judged log does not exist", "parent_id", status=404)
        file_id = file_of(kind, body, state)
        log = KnownLog(kind, file_id, body.get("trace_parent_id"), status_of(kind, body), set(body))
        check_complete(log)
        state.files.setdefault((kind, body.get("path", file_id)), file_id)
        state.logs[log_id] = log
        keep_log(kind, log_id, call.body, state)
        return answer(kind, log_id, log, body)

    return handle


def keep_log(kind: str, log_id: str, body: Json, state: HumanloopV5State) -> None:
    """Accept a log; an evaluator's is feedback, though its log_id is one among all."""
    if kind == "evaluator":
        state.remember("event", log_id, body)
        state.keep("feedback", log_id, body)
    else:
        state.keep("event", log_id, body)


def check_complete(log: KnownLog) -> None:
    """2.5, point 3: a complete flow has inputs and one of output, output_message and error."""
    if log.kind == "flow" and log.status == "complete" and not ("inputs" in log.filled and log.filled & OUTCOMES):
        raise refuse("a complete flow needs inputs and one of output, output_message, error", "log_status")


def patch_log(kind: str) -> Callable[[Call, HumanloopV5State], Reply]:
    """Make the handler of the PATCH of one kind of log."""

    def handle(call: Call, state: HumanloopV5State) -> Reply:
        changes = parse(tables(kind, state)[1], call.body)
        log = state.logs.get(call.args["log_id"])
        if log is None or log.kind != kind:
            raise refuse(f"unknown {kind} log", "path", "log_id", status=404)
        if call.args.get("file_id", log.file_id) != log.file_id:
            raise refuse(f"the log belongs to another {kind} file", "path", "file_id", status=404)
        status = changes.get("log_status") or changes.get("trace_status") or log.status
        if (log.status, status) == ("complete", "incomplete"):
            raise refuse("a complete trace cannot be reopened", "log_status", status=409)
        filled = log.filled | {key for key, value in changes.items() if value is not None}
        patched = KnownLog(kind, log.file_id, log.parent, status, filled)
        check_complete(patched)
        state.logs[call.args["log_id"]] = patched
        state.keep("update", call.args["log_id"], call.body)
        return answer(kind, call.args["log_id"], patched, changes)

    return handle


HUMANLOOP_V5 = humanloop(
    "v5",
    (
        *(Route("POST", f"/v5/{kind}s/log", post_log(kind)) for kind in FILE_PREFIXES),
        *(
            Route("PATCH", f"/v5/{kind}s/<file_id>/log/<log_id>", patch_log(kind))
            for kind in ("prompt", "tool", "agent")
        ),
        Route("PATCH", "/v5/flows/logs/<log_id>", patch_log("flow")),
    ),
    HumanloopV5State,
)
