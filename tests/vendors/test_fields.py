"""Every field that a vendor publishes is accounted for, and the account is true of what is sent.

The lists are those of the vendors' published contracts, typed here once more: neither the table nor the server's rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from eventtree.serializer.vendor import Vendor
from eventtree.vendors import vendor_class
from tests.vendors.everything import SETTINGS, every_request
from tests.vendors.fields import FIELDS, PAGE, printed

SHARED_V5 = """path id log_id trace_parent_id start_time end_time created_at provider_latency inputs output error stdout
    provider_request provider_response source metadata user environment save source_datapoint_id log_status"""
MODEL_V5 = """messages output_message tool_choice prompt_tokens reasoning_tokens output_tokens prompt_cost output_cost
    finish_reason run_id"""

PUBLISHED: dict[str, dict[str, str]] = {
    "honeyhive": {
        "event": """project project_id source event_name event_type event_id session_id parent_id children_ids config
            inputs outputs error start_time end_time duration metadata feedback metrics user_properties""",
        "session": """session_id session_name event_name source project inputs outputs config metadata user_properties
            metrics feedback error children_ids start_time end_time duration""",
        "update": """event_id metadata feedback metrics outputs config user_properties duration end_time
            children_ids""",
    },
    "humanloop_v5": {
        "prompt": f"{SHARED_V5} {MODEL_V5} prompt",
        "agent": f"{SHARED_V5} {MODEL_V5} agent",
        "tool": f"{SHARED_V5} tool",
        "flow": f"{SHARED_V5} run_id flow messages output_message",
        "evaluator": "path log_id parent_id judgment spec source user metadata marked_completed output_message",
    },
    "humanloop_v4": {
        "log": """project project_id session_id session_reference_id parent_id parent_reference_id reference_id config
            config_id inputs messages output output_message prompt_tokens output_tokens prompt_cost output_cost
            provider_request provider_response duration created_at error stdout judgment feedback source metadata save
            source_datapoint_id environment trial_id""",
        "update": "output error duration",
        "feedback": "type value data_id user created_at unset",
    },
    "braintrust": {
        "row": """id span_id root_span_id span_parents span_attributes input output expected error scores metrics
            metadata tags context created origin facets _is_merge _merge_paths _array_delete _object_delete
            _parent_id""",
        "feedback": "id scores expected comment metadata source tags",
    },
    "nebuly": {
        "interaction": """conversation_id input output time_start time_end end_user tags hide_content
            end_user_group_profile previous_interactions feature_flags""",
        "body": "interaction traces feedback_actions user_feedback anonymize",
        "model": "model messages output input_tokens output_tokens cost",
        "retrieval": "source input outputs",
        "embedding": "model input input_tokens",
    },
}


def bodies(vendor: Vendor) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object a vendor is sent, with the name its table bears."""
    for route, _, _, body in every_request(vendor):
        yield from parts(vendor.kind, route, body)


def parts(kind: str, route: str, body: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in one body."""
    if kind == "honeyhive":
        shape = "session" if "session" in route else "update" if "feedback" in route else "event"
        found = body["events"] if shape == "event" else [body.get("session", body)]
        yield from ((shape, one) for one in found)
    elif kind == "humanloop_v5":
        yield {"judge": "evaluator", "complete": "flow"}.get(route, route), body
    elif kind == "humanloop_v4":
        found = body if isinstance(body, list) else [body.get("log", body)]
        shape = {"feedback": "feedback", "late": "update"}.get(route, "log")
        yield from ((shape, one) for one in found)
    elif kind == "braintrust" and route != "lookup":
        is_row = "events" in body
        yield from (("row" if is_row else "feedback", one) for one in body["events" if is_row else "feedback"])
    elif route in ("v2", "v3"):
        yield "body", body
        yield "interaction", body["interaction"]
        for step in body["traces"]:
            yield "retrieval" if "source" in step else "model" if "messages" in step else "embedding", step


@pytest.mark.parametrize("kind", FIELDS)
def test_every_published_field_is_accounted_for_and_no_other(kind: str) -> None:
    assert {shape: set(names.split()) for shape, names in PUBLISHED[kind].items()} == {
        shape: set(table) for shape, table in FIELDS[kind].items()
    }


@pytest.mark.parametrize("kind", FIELDS)
def test_the_account_is_true_of_what_is_sent(kind: str) -> None:
    sent: dict[str, set[str]] = {shape: set() for shape in FIELDS[kind]}
    for settings in SETTINGS[kind]:
        for shape, body in bodies(vendor_class(kind).for_export(**settings)):
            sent[shape] |= body.keys()
    for shape, table in FIELDS[kind].items():
        assert sent[shape] == {name for name, source in table.items() if not source.startswith("-")}, shape


def test_the_reference_page_shows_the_tables() -> None:
    assert PAGE.read_text(encoding="utf-8") == printed(), "run python -m tests.vendors.fields"
