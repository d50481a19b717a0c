"""humanloop 0.7.35: logs by depth, updates, feedback, an evaluation's log."""

import sys
import uuid

from client import play
from humanloop import Humanloop

client = Humanloop(api_key="key", host=f"{sys.argv[1]}/v4")
SESSION, ROOT = str(uuid.uuid4()), str(uuid.uuid4())
CONFIG = {"type": "tool", "name": "f"}
told = {}


def log(**changes):
    given = {"project": "p", "config": CONFIG, "session_reference_id": SESSION, "inputs": {}}
    answer = client.log(**{**given, "reference_id": str(uuid.uuid4()), **changes})
    told["id"] = answer.body["id"] if hasattr(answer, "body") else answer.id
    return answer


def together(*logs):
    return client.log(body=[{"project": "p", "config": CONFIG, "session_reference_id": SESSION, **one} for one in logs])


play(
    right=[
        lambda: log(reference_id=ROOT),
        lambda: log(parent_reference_id=ROOT, output="out"),
        lambda: client.feedback(type="rating", value="good", data_id=told["id"]),
        lambda: client.sessions.create(),
        lambda: client.projects.create(name="another"),
        lambda: client.evaluations.log(
            evaluation_id="ev_1", datapoint_id="row", log={"project": "p", "config": CONFIG, "output": "out"}
        ),
    ],
    wrong=[
        lambda: together({"reference_id": "one"}, {"reference_id": "two", "parent_reference_id": "one"}),
        lambda: log(parent_reference_id=str(uuid.uuid4())),
        lambda: client.feedback(type="rating", value="good", data_id="data_unknown"),
        lambda: client.log(project="p", inputs={}),
    ],
    status=lambda error: error.status,
)
