"""braintrust-api 0.6: a project, an experiment, rows and feedback."""

import sys
import uuid

from braintrust_api import Braintrust
from client import play

client = Braintrust(api_key="key", base_url=sys.argv[1], max_retries=0)
ROOT = str(uuid.uuid4())
ROW = {"id": ROOT, "span_id": ROOT, "root_span_id": ROOT, "input": "in", "metrics": {"start": 1_760_000_000.5}}
known = {}


def project():
    known["project"] = client.projects.create(name="p").id


def experiment():
    known["experiment"] = client.experiments.create(project_id=known["project"], name="e").id


def insert(*rows):
    assert client.projects.logs.insert(known["project"], events=list(rows)).row_ids == [row["id"] for row in rows]


play(
    right=[
        project,
        experiment,
        lambda: insert(ROW, {**ROW, "id": "2", "span_id": "2", "span_parents": [ROOT]}),
        lambda: client.experiments.insert(known["experiment"], events=[{**ROW, "expected": "x", "scores": {"a": 1}}]),
        lambda: client.projects.logs.feedback(
            known["project"], feedback=[{"id": ROOT, "scores": {"good": 1}, "comment": "c", "source": "external"}]
        ),
        lambda: client.experiments.feedback(known["experiment"], feedback=[{"id": ROOT, "expected": "y"}]),
    ],
    wrong=[
        lambda: client.projects.logs.insert(str(uuid.uuid4()), events=[ROW]),
        lambda: client.projects.logs.insert("not a uuid", events=[ROW]),
        lambda: insert({**ROW, "id": "3", "scores": {"a": 7}}),
        lambda: insert({**ROW, "id": "4", "metrics": {"start": 1_760_000_000_500}}),
        lambda: insert({**ROW, "id": "5", "span_id": "5", "metrics": {"prompt_tokens": 1.5}}),
    ],
    status=lambda error: error.status_code,
)
