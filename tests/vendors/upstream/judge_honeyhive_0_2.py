"""honeyhive 0.2: the legacy routes' models, which are closed by what they declare."""

import json
from typing import Any

from honeyhive.models import components, operations
from honeyhive.utils.serializers import unmarshal_json
from judge import judge, known

MODELS = {
    ("POST", "/session/start"): operations.StartSessionRequestBody,
    ("POST", "/events/batch"): operations.CreateEventBatchRequestBody,
    ("PUT", "/events"): operations.UpdateEventRequestBody,
}


def check(method: str, path: str, body: Any) -> None:
    model = MODELS[method, path]
    known(body, model.model_fields, path)
    unmarshal_json(json.dumps(body), model)
    for event in body.get("events", ()):
        known(event, components.CreateEventRequest.model_fields, "event")
    if "session" in body:
        known(body["session"], components.SessionStartRequest.model_fields, "session")


EVENT = {
    "project": "p", "source": "s", "event_name": "n", "event_type": "tool", "config": {}, "inputs": {}, "duration": 1,
}  # fmt: skip
judge(
    check,
    [
        ("POST", "/events/batch", {"events": [{**EVENT, "end_time": 1.5}]}),
        ("POST", "/events/batch", {"events": [{**EVENT, "parent_id": None}]}),
        ("POST", "/events/batch", {"events": [{**EVENT, "event_type": "generic"}]}),
        ("POST", "/events/batch", {"events": [{**EVENT, "tags": []}]}),
        ("POST", "/events/batch", {"events": [{**EVENT, "inputs": "text"}]}),
        ("POST", "/session/start", {"session": {"session_name": "s"}}),
        ("PUT", "/events", {"metrics": {}}),
    ],
)
