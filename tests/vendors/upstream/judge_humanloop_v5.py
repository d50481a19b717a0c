"""humanloop 0.8.38: the types of the arguments of its raw clients, keys it does not know refused."""

import typing
from typing import Any

import humanloop  # noqa: F401  (its parts can't be imported before it)
from humanloop.agents.raw_client import RawAgentsClient
from humanloop.evaluators.raw_client import RawEvaluatorsClient
from humanloop.flows.raw_client import RawFlowsClient
from humanloop.prompts.raw_client import RawPromptsClient
from humanloop.tools.raw_client import RawToolsClient
from judge import judge, known
from pydantic import ConfigDict, TypeAdapter

METHODS: dict[tuple[str, str], Any] = {
    ("POST", "/v5/prompts/log"): RawPromptsClient.log,
    ("POST", "/v5/tools/log"): RawToolsClient.log,
    ("POST", "/v5/flows/log"): RawFlowsClient.log,
    ("POST", "/v5/agents/log"): RawAgentsClient.log,
    ("POST", "/v5/evaluators/log"): RawEvaluatorsClient.log,
    ("PATCH", "/v5/flows/logs/"): RawFlowsClient.update_log,
}
NOT_IN_THE_BODY = {"return", "request_options", "version_id"}
adapters: dict[Any, TypeAdapter[Any]] = {}


def check(method: str, path: str, body: Any) -> None:
    known_path = path if (method, path) in METHODS else path.rpartition("/")[0] + "/"
    hints = typing.get_type_hints(METHODS[method, known_path])
    label = next((name for name in hints if name.endswith("_log_request_environment")), None)
    fields = {name: hint for name, hint in hints.items() if name not in NOT_IN_THE_BODY | {label, "environment"}}
    fields |= {"environment": hints[label]} if label else {}
    known(body, fields, path)
    for name, value in body.items():
        key = (known_path, name)
        if key not in adapters:
            adapters[key] = TypeAdapter(fields[name], config=ConfigDict(extra="forbid"))
        adapters[key].validate_python(value)


MODEL = {"path": "p", "prompt": {"model": "m"}}
judge(
    check,
    [
        ("POST", "/v5/prompts/log", {**MODEL, "tags": ["a"]}),
        ("POST", "/v5/prompts/log", {**MODEL, "output": None}),
        ("POST", "/v5/prompts/log", {**MODEL, "output": {"a": 1}}),
        ("POST", "/v5/prompts/log", {"path": "p", "prompt": {"temperature": 1}}),
        ("POST", "/v5/prompts/log", {**MODEL, "messages": [{"content": "no role"}]}),
        ("POST", "/v5/tools/log", {"path": "p", "tool": {"function": {"name": "n"}}}),
        ("POST", "/v5/flows/log", {"path": "p", "flow": {}}),
        ("POST", "/v5/flows/log", {"path": "p", "trace_status": "incomplete"}),
        ("POST", "/v5/evaluators/log", {"path": "p", "judgment": {"a": 1}}),
        ("PATCH", "/v5/flows/logs/x", {"metadata": {}}),
    ],
)
