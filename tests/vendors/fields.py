"""Every field of every vendor: where its value comes from, or (after a dash) why it stays empty. Tests keep it true.

`python -m tests.vendors.fields` prints the tables into cookbook/reference/vendors.md, below its mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

Table = Mapping[str, str]
"""Field → source; those that stay empty begin with `-`."""

SERVER = "- the server's own"
INSTEAD = "- {} says it"

HONEYHIVE_EVENT: Table = {
    "project": "setting `project`; v1 knows none: its key decides",
    "project_id": SERVER,
    "source": "environment of the event, else of the root, else setting `source`",
    "event_name": "name",
    "event_type": "kind",
    "event_id": "id",
    "session_id": "derived from the tree's id",
    "parent_id": "parent; the session's id for the root",
    "children_ids": "ids of the events directly below, up to 1,000; of a session the root's",
    "config": "model, provider, params (`template` too), tools",
    "inputs": "inputs",
    "outputs": "outputs",
    "error": "error",
    "start_time": "start",
    "end_time": "start + duration",
    "duration": "duration",
    "metadata": "usage, cost, tags, notes, status, metadata, dataset row",
    "feedback": "feedback",
    "metrics": "scores",
    "user_properties": "user",
}

HONEYHIVE: Mapping[str, Table] = {
    "event": HONEYHIVE_EVENT,
    "session": {
        **{
            name: HONEYHIVE_EVENT[name]
            for name in HONEYHIVE_EVENT
            if not name.startswith(("event_", "parent", "project_"))
        },
        "session_name": "name of the root",
        "event_name": INSTEAD.format("session_name"),
        "config": "always empty: its events have theirs",
    },
    "update": {
        "event_id": "id of the event or session",
        "feedback": "feedback",
        "metrics": "scores",
        "metadata": "of what ended late: as in an event, its status, its error",
        "outputs": "outputs of what ended late",
        "duration": "duration of what ended late",
        "end_time": "v1: start + duration of what ended late; legacy: duration says it",
        **dict.fromkeys(("config", "user_properties", "children_ids"), "- sent when a run opens"),
    },
}

HUMANLOOP_SHARED: Table = {
    "path": "project, type of Log, name",
    "id": INSTEAD.format("path"),
    "log_id": "id",
    "trace_parent_id": "parent",
    "start_time": "start",
    "end_time": "start + duration",
    "created_at": INSTEAD.format("start_time"),
    "provider_latency": "duration",
    "inputs": "inputs",
    "output": "outputs as text",
    "error": "error",
    "stdout": "lines logged during the run, with `eventtree.LogHandler`",
    "provider_request": "of models, with `provider_payloads=True`: params, messages",
    "provider_response": "of models, with `provider_payloads=True`: messages, usage",
    "source": "`eventtree`",
    "metadata": "what has no field: usage details, status, tags, session, notes, metadata",
    "user": "user",
    "environment": "environment",
    "save": "setting `save`, where it is off",
    "source_datapoint_id": "`eventtree_datapoint_id`",
}
HUMANLOOP_MODEL: Table = {
    "messages": "messages of the inputs",
    "output_message": "the message of the outputs",
    "tool_choice": "params",
    "prompt_tokens": "usage",
    "reasoning_tokens": "usage",
    "output_tokens": "usage",
    "prompt_cost": "cost",
    "output_cost": "cost",
    "finish_reason": "outputs",
}
RUN_ID = "`eventtree_run_id`, on the Log that begins the trace"

NO_PROVIDER: Table = dict.fromkeys(("provider_request", "provider_response"), "- of models alone")

HUMANLOOP_V5: Mapping[str, Table] = {
    "prompt": {
        **HUMANLOOP_SHARED, **HUMANLOOP_MODEL, "prompt": "model, provider, params, tools", "run_id": RUN_ID,
        "log_status": "- taken away again from prompts by later releases",
    },
    "agent": {
        **HUMANLOOP_SHARED, **NO_PROVIDER, **HUMANLOOP_MODEL, "agent": "model, provider, params",
        "source_datapoint_id": "- a tree's first Log is never an agent's",
        "run_id": "- a tree's first Log is never an agent's",
        "tool_choice": "- its model calls have Logs of their own",
        "reasoning_tokens": "- its model calls have Logs of their own",
        "finish_reason": "- its model calls have Logs of their own",
        "log_status": "- taken away again from agents by later releases",
    },
    "tool": {
        **HUMANLOOP_SHARED, **NO_PROVIDER, "tool": "name, kind",
        "log_status": "- taken away again from tools by later releases",
    },
    "flow": {
        **HUMANLOOP_SHARED, **NO_PROVIDER, "flow": "constant, so that a flow has one version",
        "messages": "messages of the inputs",
        "output_message": "the message of the outputs", "run_id": RUN_ID,
        "log_status": "incomplete; complete by PATCH after all below it",
    },
    "evaluator": {
        "path": "name of the score, `rating`, `correction`",
        "log_id": "derived from the feedback's key",
        "parent_id": "id of the judged event",
        "judgment": "score, comment or correction",
        "spec": "number or text, for evaluators made by us",
        "source": "`eventtree`",
        "user": "user of the feedback",
        "metadata": "metadata and score of the feedback",
        "marked_completed": "- for reviewers of Humanloop's own interface",
        "output_message": "- evaluators of ours speak no message",
    },
}  # fmt: skip

HUMANLOOP_V4: Mapping[str, Table] = {
    "log": {
        "project": "setting `project`",
        "project_id": INSTEAD.format("project"),
        "session_id": INSTEAD.format("session_reference_id"),
        "session_reference_id": "id of the tree",
        "parent_id": INSTEAD.format("parent_reference_id"),
        "parent_reference_id": "parent",
        "reference_id": "id",
        "config": "of a model: model, provider, params, tools; else name and kind",
        "config_id": INSTEAD.format("config"),
        "inputs": "inputs",
        "messages": "messages of the inputs",
        "output": "outputs as text",
        "output_message": "the message of the outputs",
        "prompt_tokens": "usage",
        "output_tokens": "usage",
        "prompt_cost": "cost",
        "output_cost": "cost",
        "provider_request": HUMANLOOP_SHARED["provider_request"],
        "provider_response": HUMANLOOP_SHARED["provider_response"],
        "duration": "duration",
        "created_at": "start",
        "error": "error",
        "stdout": HUMANLOOP_SHARED["stdout"],
        "judgment": "- for logs of evaluators; feedback says it",
        "feedback": "feedback known when the tree is exported; later by POST /feedback",
        "source": "`eventtree`",
        "metadata": "user, run_id and what else has no field",
        "save": "setting `save`, where it is off",
        "source_datapoint_id": "`eventtree_datapoint_id`",
        "environment": "environment",
        "trial_id": "- gone from later editions",
    },
    "update": {
        "output": "outputs of what ended late, as text",
        "error": "error of what ended late",
        "duration": "duration of what ended late",
    },
    "feedback": {
        "type": "name of the score, rating, correction, comment",
        "value": "score, comment or correction as text",
        "data_id": "learned from the answer to the Log",
        "user": "user of the feedback",
        "created_at": "when the feedback came in",
        "unset": "- feedback is added, never taken back",
    },
}

BRAINTRUST: Mapping[str, Table] = {
    "row": {
        "id": "id",
        "span_id": "id",
        "root_span_id": "id of the tree",
        "span_parents": "parent",
        "span_attributes": "name, kind",
        "input": "inputs",
        "output": "outputs",
        "expected": "correction, else `eventtree_expected`",
        "error": "error, with its traceback",
        "scores": "scores from 0 to 1",
        "metrics": "times, usage, cost, scores of another range",
        "metadata": "model, provider, params, tools, session, user, notes, metadata",
        "tags": "tags of the root",
        "context": "framework, environment; `caller_*` on the root with the handler's `callers=True`",
        "created": "start",
        "origin": "`eventtree_dataset_id` with `eventtree_datapoint_id`",
        "facets": SERVER,
        "_is_merge": "true for what ended late; all other rows are whole, so a repeat replaces its like",
        "_merge_paths": "- what ends late only adds to its row",
        "_array_delete": "- rows are not merged",
        "_object_delete": "- nothing is ever deleted there",
        "_parent_id": "- deprecated",
    },
    "feedback": {
        "id": "id of the event",
        "scores": "scores from 0 to 1",
        "expected": "correction",
        "comment": "comment",
        "metadata": "metadata, user, scores of another range",
        "source": "`external`",
        "tags": "- feedback has none",
    },
}

NEBULY: Mapping[str, Table] = {
    "interaction": {
        "conversation_id": "session, else the tree's id",
        "input": "the user's text",
        "output": "what the user saw",
        "time_start": "start of the root",
        "time_end": "end of the root",
        "end_user": "user, else setting `end_user`",
        "tags": "tags, metadata, status, dataset row, named scores",
        "hide_content": "setting `hide_content`",
        "end_user_group_profile": "setting `end_user_group_profile`",
        "previous_interactions": "- in one vintage of v2 alone; conversation_id joins the turns",
        "feature_flags": "setting `feature_flags`, and `eventtree_feature_flags` of the root's metadata",
    },
    "body": {
        "interaction": "the root",
        "traces": "models, tools, retrievers, rerankers, embeddings",
        "feedback_actions": "v2: feedback known when the tree is exported; later by POST /feedback",
        "user_feedback": "v3: the same",
        "anonymize": "setting `anonymize`",
    },
    "model": {
        "model": "model",
        "messages": "inputs",
        "output": "outputs",
        "input_tokens": "usage",
        "output_tokens": "usage",
        "cost": "cost (v3)",
    },
    "retrieval": {"source": "name", "input": "inputs", "outputs": "outputs"},
    "embedding": {"model": "model", "input": "inputs", "input_tokens": "usage"},
}

FIELDS: Mapping[str, Mapping[str, Table]] = {
    "honeyhive": HONEYHIVE,
    "humanloop_v5": HUMANLOOP_V5,
    "humanloop_v4": HUMANLOOP_V4,
    "braintrust": BRAINTRUST,
    "nebuly": NEBULY,
}
"""Vendor → kind of body → field → source."""

PAGE = Path(__file__).parents[2] / "cookbook" / "reference" / "vendors.md"
MARK = "<!-- Below: printed by `python -m tests.vendors.fields`. -->\n"


def printed() -> str:
    """The page as it should be: what stands above the mark, and the tables."""
    above, mark, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    return f"{above}{mark}" + "".join(f"{line}\n" for line in lines())


def lines() -> Iterator[str]:
    """The tables as Markdown, a section for each vendor."""
    for kind, bodies in FIELDS.items():
        yield from ("", f"## {kind}")
        for body, table in bodies.items():
            yield from ("", f"| {body} | comes from |", "|---|---|")
            for field, source in table.items():
                yield f"| `{field}` | {source if not source.startswith('-') else f'*empty:* {source[2:]}'} |"


if __name__ == "__main__":
    PAGE.write_text(printed(), encoding="utf-8")
