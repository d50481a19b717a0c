"""honeyhive 1.7: its public client (legacy routes) and its generated services (/v1)."""

import os
import sys
import uuid

os.environ["HONEYHIVE_TELEMETRY"] = "false"

from client import play
from honeyhive import HoneyHive
from honeyhive._generated import models
from honeyhive._generated.services import Events_service, Sessions_service

client = HoneyHive(api_key="key", base_url=sys.argv[1])
config = client.events._ingestion_api_config
SESSION, OTHER, ROOT, LEAF = (str(uuid.uuid4()) for _ in range(4))
EVENT = {
    "source": "dev", "event_name": "n", "event_type": "tool", "config": {}, "inputs": {"a": 1}, "duration": 1.5,
    "start_time": 1_760_000_000_000, "end_time": 1_760_000_000_001,
}  # fmt: skip


def legacy(**changes):
    event = {**EVENT, "project": "p", "session_id": SESSION, "parent_id": SESSION, **changes}
    return client.events.create_batch(models.LegacyPostEventBatchRequest(events=[event]))


def v1(**changes):
    event = {**EVENT, "session_id": OTHER, "parent_id": OTHER, **changes}
    return Events_service.createEventBatch(config, data=models.PostEventBatchRequest(events=[event]))


def update(event_id):
    return client.events.update(models.LegacyUpdateEventRequest(event_id=event_id, feedback={"rating": 1}))


def start(**fields):
    session = {"session_id": SESSION, "session_name": "s", "source": "dev", "project": "p", **fields}
    return Sessions_service.startSessionLegacy(config, data=models.LegacyStartSessionRequest(session=session))


play(
    right=[
        start,
        lambda: legacy(event_id=ROOT),
        lambda: legacy(event_id=LEAF, parent_id=ROOT),
        lambda: update(LEAF),
        lambda: Sessions_service.createSession(
            config, data=models.StartSessionRequest(session_id=OTHER, session_name="s")
        ),
        lambda: v1(event_id=str(uuid.uuid4())),
    ],
    wrong=[
        lambda: legacy(event_id=str(uuid.uuid4()), parent_id=str(uuid.uuid4())),
        lambda: legacy(event_id="not a uuid"),
        lambda: v1(event_id=str(uuid.uuid4()), project="p"),
        lambda: v1(event_id=str(uuid.uuid4()), start_time=1_760_000_000_000_000),
        lambda: update(str(uuid.uuid4())),
    ],
    status=lambda error: error.status_code,
)
