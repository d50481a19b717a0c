"""Hypothesis strategies: trees of any shape, whose events hold any JSON, well formed or odd."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from eventtree.event import Cost, Event, EventError, EventTree, Kind, Note, Status, Usage

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
parts = st.sampled_from(
    [
        {"type": "text", "text": "see"},
        {"type": "image", "url": "https://a.test/cat.png"},
        {"type": "image", "mime_type": "image/png", "bytes": 12, "sha256": "ab"},
        {"type": "audio", "url": "https://a.test/cat.wav"},
        {"type": "image_url", "image_url": {"url": "https://a.test/dog.png", "detail": ["odd"], "more": 1}},
        {"type": "image_url", "image_url": "https://a.test/dog.png"},
        {"type": "image_url", "image_url": None},
        {"type": "thinking", "thinking": "hm"},
        "bare",
        None,
    ]
)
calls = st.fixed_dictionaries(
    {}, optional={"id": st.just("call_1") | st.none(), "name": texts | st.none(), "arguments": anything}
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer", "AI", "critic", ""])},
    optional={
        "content": texts | st.none() | st.lists(parts, max_size=3),
        "tool_calls": st.lists(calls, max_size=2) | st.none(),
        "tool_call_id": texts | st.none(),
        "name": texts | st.none(),
        "reasoning": texts,
        "finish_reason": texts | st.none(),
        "status": st.just("error"),
        "id": texts,
    },
)
conversations = st.lists(messages, max_size=3)
documents = st.lists(
    st.fixed_dictionaries({}, optional={"id": texts, "text": texts, "score": scalars, "metadata": anything}), max_size=2
)
inputs = st.one_of(
    anything,
    conversations,
    st.builds(lambda m: {"messages": m}, conversations | st.lists(conversations, max_size=2)),
    st.builds(lambda m, x: {"messages": m, "topic": x}, conversations, anything),
    st.builds(lambda t: {"prompt": t}, texts),
    st.builds(lambda t: {"question": t}, texts),
    st.builds(lambda t: {"texts": t}, st.lists(texts, max_size=2)),
    st.builds(lambda q, d: {"query": q, "documents": d}, texts, documents),
)
outputs = st.one_of(
    anything,
    messages,
    st.builds(lambda m: {"messages": m}, conversations),
    st.builds(lambda t: {"text": t}, texts),
    st.builds(lambda t: {"texts": t}, st.lists(texts, max_size=2)),
    st.builds(lambda d: {"documents": d}, documents),
)
params = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "temperature": scalars, "max_tokens": scalars, "top_p": scalars, "seed": scalars, "reasoning_effort": scalars,
        "stop": anything, "response_format": anything | st.just({"type": "json_object"}), "user": texts,
        "tool_choice": anything | st.just("any"),
        "tools": anything | st.just([
            {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}, "strict": None}},
            {"name": "look", "input_schema": {"type": "object"}},
            {"type": "web_search"},
        ]),
    },
)  # fmt: skip
counts = st.none() | st.integers(0, 10**9)
usages = st.none() | st.builds(
    Usage, input_tokens=counts, output_tokens=counts, total_tokens=counts, cache_read_tokens=counts,
    reasoning_tokens=counts, inferred=st.booleans(), problems=st.just(()) | st.just(("odd",)), raw=anything,
)  # fmt: skip
dollars = st.none() | st.decimals(Decimal(0), Decimal(1000), places=9)
costs = st.none() | st.builds(Cost, input_usd=dollars, output_usd=dollars, total_usd=dollars, source=st.just("table"))
moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))
errors = st.none() | st.builds(EventError, type=texts, message=texts, traceback=st.none() | texts)
scores = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(0, 1) | st.dictionaries(texts, scalars, max_size=2)
metadata = st.dictionaries(
    texts | st.sampled_from(["status", "tags", "eventtree_datapoint_id", "eventtree_run_id", "eventtree_scores"]),
    anything,
    max_size=3,
)


@st.composite
def trees(draw: st.DrawFn, most: int = 8) -> EventTree:
    """A tree: parents before children, ids of all events UUIDs; the first is the root."""
    ids = draw(st.lists(st.uuids(version=4).map(str), min_size=1, max_size=most, unique=True))
    tree_id = str(UUID(int=UUID(ids[0]).int ^ 1))
    start = draw(moments)
    events = [draw(events_of(tree_id, ids, at, start)) for at in range(len(ids))]
    feedback = st.fixed_dictionaries(
        {"event_id": st.sampled_from([*ids, tree_id, "unknown"])},
        optional={
            "score": scores, "name": texts, "comment": texts | st.none(), "correction": anything, "user": texts | st.none(),
        },
    )  # fmt: skip
    return EventTree(id=tree_id, events=tuple(events), feedback=tuple(draw(st.lists(feedback, max_size=2))))


@st.composite
def events_of(draw: st.DrawFn, tree_id: str, ids: list[str], at: int, start: datetime) -> Event:
    """The event at index `at` of a tree."""
    fields: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {
                "kind": st.sampled_from(Kind), "status": st.sampled_from(Status), "name": texts, "error": errors,
                "inputs": inputs, "outputs": outputs, "model": st.none() | texts | st.just("gpt-4o"), "params": params,
                "provider": st.none() | texts | st.sampled_from(["openai", "azure", "google_genai", "mistral", "bedrock"]),
                "usage": usages, "cost": costs, "duration": st.none() | st.floats(0, 4000), "user": st.none() | texts,
                "session_id": st.none() | texts, "time_to_first_token": st.none() | st.floats(0, 10),
                "internal": st.booleans() if at else st.just(False), "metadata": metadata,
                "tags": st.lists(texts | st.just("team:blue"), max_size=3).map(tuple), "environment": st.none() | texts,
                "notes": st.lists(st.builds(Note, name=texts, at=moments, value=anything), max_size=1).map(tuple),
            }
        )
    )  # fmt: skip
    parent = ids[draw(st.integers(0, at - 1))] if at else draw(st.none() | st.just("elsewhere"))
    begun = start + timedelta(seconds=draw(st.floats(0, 100)))
    return Event(id=ids[at], tree_id=tree_id, parent_id=parent, start=begun if at else start, **fields)
