"""honeyhive 0.2: sessions, events, batches and updates of the legacy routes."""

import sys
import uuid

from client import play
from honeyhive import HoneyHive
from honeyhive.models import components, operations

client = HoneyHive(bearer_auth="key", server_url=sys.argv[1])
SESSION, ROOT, LEAF = (str(uuid.uuid4()) for _ in range(3))


def start(**changes):
    session = {"project": "p", "session_name": "s", "source": "dev", "session_id": SESSION, **changes}
    request = operations.StartSessionRequestBody(session=components.SessionStartRequest(**session))
    return client.session.start_session(request=request)


def event(**changes):
    given = {
        "project": "p", "source": "dev", "event_name": "n", "event_type": "tool", "event_id": ROOT, "config": {},
        "inputs": {"a": 1}, "duration": 1.5, "session_id": SESSION, "parent_id": SESSION,
        "start_time": 1_760_000_000_000, "end_time": 1_760_000_000_001,
    }  # fmt: skip
    return components.CreateEventRequest(**{**given, **changes})


def batch(*events):
    return client.events.create_event_batch(request=operations.CreateEventBatchRequestBody(events=list(events)))


def one(**changes):
    return client.events.create_event(request=operations.CreateEventRequestBody(event=event(**changes)))


def update(**fields):
    return client.events.update_event(request=operations.UpdateEventRequestBody(**fields))


def status(error):
    """Its error of a half-taken batch has no status: that is a 500."""
    return getattr(error, "status_code", None) or 500


play(
    right=[
        start,
        lambda: batch(event(), event(event_id=LEAF, parent_id=ROOT, event_type="model")),
        lambda: one(event_id=str(uuid.uuid4())),
        lambda: update(event_id=LEAF, metrics={"good": 1}, feedback={"rating": 1}),
        lambda: update(event_id=SESSION, outputs={"a": 1}),
    ],
    wrong=[
        lambda: batch(event(event_id=str(uuid.uuid4()), start_time=1_760_000_000_000_000)),
        lambda: batch(event(event_id=str(uuid.uuid4()), parent_id=str(uuid.uuid4()))),
        lambda: one(event_id=str(uuid.uuid4()), session_id=str(uuid.uuid4())),
        lambda: update(event_id=str(uuid.uuid4()), metrics={}),
    ],
    status=status,
)
