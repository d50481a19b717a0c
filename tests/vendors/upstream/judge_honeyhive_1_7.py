"""honeyhive 1.7: the generated models of both generations, read strictly and taken as closed."""

from typing import Any

from honeyhive._generated import models
from judge import judge, known
from pydantic import BaseModel

MODELS = {
    ("POST", "/session/start"): models.LegacyStartSessionRequest,
    ("POST", "/events/batch"): models.LegacyPostEventBatchRequest,
    ("PUT", "/events"): models.LegacyUpdateEventRequest,
    ("POST", "/v1/sessions"): models.StartSessionRequest,
    ("POST", "/v1/events/batch"): models.PostEventBatchRequest,
    ("PUT", "/v1/events/"): models.UpdateEventRequest,
}


def check(method: str, path: str, body: Any) -> None:
    known_path = path if (method, path) in MODELS else path.rpartition("/")[0] + "/"
    closed(MODELS[method, known_path].model_validate(body, strict=True), body)


OPEN = {"LegacyStartSessionRequestSession": {"project", "error", "metrics", "feedback"}}
"""What an open schema does not declare and release 0.2 does."""


def closed(read: BaseModel, body: dict[str, Any]) -> None:
    """No key that the model does not declare; nothing null."""
    name = type(read).__name__
    known(body, {*type(read).model_fields, *OPEN.get(name, ())}, name)
    for name in type(read).model_fields:
        value = getattr(read, name)
        for one, part in zip(value, body.get(name) or (), strict=True) if isinstance(value, list) else [(value, None)]:
            if isinstance(one, BaseModel):
                closed(one, part or body[name])


EVENT = {"event_type": "tool", "inputs": {}}
judge(
    check,
    [
        ("POST", "/v1/events/batch", {"events": [{**EVENT, "project": "p"}]}),
        ("POST", "/v1/events/batch", {"events": [{**EVENT, "start_time": "1"}]}),
        ("POST", "/v1/events/batch", {"events": [{**EVENT, "outputs": []}]}),
        ("POST", "/v1/events/batch", {"events": [{**EVENT, "error": None}]}),
        ("POST", "/v1/events/batch", {"events": [{"event_type": "tool"}]}),
        ("POST", "/v1/sessions", {"metrics": {}}),
        ("PUT", "/v1/events/x", {"event_id": "x"}),
        ("POST", "/session/start", {"session": {"session_id": 7}}),
    ],
)
