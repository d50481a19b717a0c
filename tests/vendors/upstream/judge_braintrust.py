"""braintrust-api 0.6: the types of its parameters; `origin` of a row came after it."""

from typing import Any

from braintrust_api.types import experiment_create_params, project_create_params, shared_params
from braintrust_api.types.shared_params.insert_project_logs_event import ContextTyped, MetricsTyped
from braintrust_api.types.shared_params.span_attributes import SpanAttributesTyped
from judge import judge, known
from pydantic import TypeAdapter

NEWER = {"origin"}
ROWS = {"project_logs": shared_params.InsertProjectLogsEvent, "experiment": shared_params.InsertExperimentEvent}
OPINIONS = {"project_logs": shared_params.FeedbackProjectLogsItem, "experiment": shared_params.FeedbackExperimentItem}
CREATED = {
    "/v1/project": project_create_params.ProjectCreateParams,
    "/v1/experiment": experiment_create_params.ExperimentCreateParams,
}
PARTS = {"metrics": MetricsTyped, "span_attributes": SpanAttributesTyped, "context": ContextTyped}
"""Parts of a row whose types also stand beside "any object", which would take anything."""
adapters: dict[Any, TypeAdapter[Any]] = {}


def check(method: str, path: str, body: Any) -> None:
    if method != "POST":
        raise ValueError(method)
    if path in CREATED:
        return check_type(CREATED[path], body)
    *_, kind, _, call = path.split("/")
    wrapper, types = {"insert": ("events", ROWS), "feedback": ("feedback", OPINIONS)}[call]
    known(body, (wrapper,), path)
    for item in body[wrapper]:
        check_type(types[kind], item)
    return None


def check_type(type_: Any, body: Any) -> None:
    known(body, {*type_.__annotations__, *NEWER}, type_.__name__)
    for one, part in ((type_, body), *((PARTS[name], body[name]) for name in PARTS if name in body)):
        if one not in adapters:
            adapters[one] = TypeAdapter(one)
        adapters[one].validate_python(part, strict=True)


INSERT = "/v1/project_logs/x/insert"
judge(
    check,
    [
        ("POST", INSERT, {"events": [{"metrics": {"start": "soon"}}]}),
        ("POST", INSERT, {"events": [{"metrics": {"prompt_tokens": 1.5}}]}),
        ("POST", INSERT, {"events": [{"scores": {"a": "high"}}]}),
        ("POST", INSERT, {"events": [{"tags": "a"}]}),
        ("POST", INSERT, {"events": [{"span_parents": "a"}]}),
        ("POST", INSERT, {"events": [{"span_attributes": {"type": "chain"}}]}),
        ("POST", INSERT, {"events": [{"user": "ada"}]}),
        ("POST", "/v1/experiment/x/feedback", {"feedback": [{"scores": {"a": 1}}]}),
        ("POST", "/v1/experiment", {"name": "n"}),
    ],
)
