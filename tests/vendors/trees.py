"""Trees for tests of vendors: one with everything in it, small ones, and hypothesis-made ones of any content."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from eventtree.event import Cost, Event, EventError, EventTree, Note, Usage
from eventtree.kinds import Kind, Status

START = datetime(2026, 3, 4, 5, 6, 7, 890123, UTC)

LOOK = [{"type": "text", "text": "Look: "}, {"type": "image", "url": "https://x.test/i.png"}]
ASKED = {"role": "user", "content": "Why tides?"}
SEARCH = {
    "name": "search",
    "description": "Search the handbook.",
    "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}},
}
CALLS = [
    {"id": "call_a", "name": "search", "arguments": {"query": "tides"}},
    {"id": "call_b", "name": "sum", "arguments": '{"numbers": [1, 2]}'},
]
DOCUMENTS = [
    {"id": "d1", "text": "The moon pulls.", "score": 0.91, "metadata": {"page": 3}},
    {"id": "d2", "text": "Water follows.", "score": 0.42},
]


def ident(number: int) -> str:
    """The UUID that the tests give to event `number`."""
    return str(UUID(int=0x5EED_0000_0000_4000_8000_0000_0000_0000 + number))


ROOT = ident(1)


def event(number: int, parent: int | None = 1, **fields: Any) -> Event:
    """An event of the tree `ROOT`, a second long, starting `number` times 100 ms after `START`."""
    given: dict[str, Any] = {
        "id": ident(number),
        "parent_id": None if parent is None else ident(parent),
        "tree_id": ROOT,
        "kind": Kind.CHAIN,
        "name": f"event {number}",
        "status": Status.OK,
        "start": START + timedelta(milliseconds=100 * (number - 1)),
        "duration": 1.0,
    }
    return Event(**given | fields)


def tree_of(*events: Event, feedback: tuple[dict[str, Any], ...] = ()) -> EventTree:
    """The tree that begins with the first of `events`."""
    return EventTree(id=events[0].tree_id, events=events, feedback=feedback)


def chain_root(**fields: Any) -> Event:
    """A root with a user, a session, tags, metadata of its own and a row of a dataset."""
    given: dict[str, Any] = {
        "name": "answer",
        "inputs": {"question": "Why tides?"},
        "outputs": {"answer": "The moon."},
        "session_id": "talk-7",
        "user": "ada",
        "tags": ("prod", "beta"),
        "environment": "staging",
        "framework": "langchain",
        "duration": 4.25,
        "metadata": {
            "tier": "gold",
            "cost": "none of yours",
            "eventtree_datapoint_id": "row-3",
            "eventtree_dataset_id": "set-1",
            "eventtree_run_id": "run-9",
            "eventtree_expected": "The moon.",
            "eventtree_scores": {"exact": 1, "length": 17.5},
        },
    }
    return event(1, None, **given | fields)


def chat_model(number: int, parent: int | None = 1, **fields: Any) -> Event:
    """A chat model that calls two tools: usage, cost, time to first token, parameters."""
    given: dict[str, Any] = {
        "kind": Kind.MODEL,
        "name": "ChatAnthropic",
        "model": "claude-sonnet-4-5",
        "provider": "anthropic",
        "params": {"temperature": 0.2, "max_tokens": 512, "top_k": 40, "tools": [SEARCH], "tool_choice": "auto"},
        "inputs": {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": LOOK},
                {"role": "assistant", "tool_calls": [{**CALLS[0], "id": "call_0"}]},
                {"role": "tool", "tool_call_id": "call_0", "name": "search", "content": "salt", "status": "success"},
            ]
        },
        "outputs": {
            "messages": [
                {"role": "assistant", "content": "", "tool_calls": CALLS, "reasoning": "2", "finish_reason": "tool_use"}
            ]
        },
        "usage": Usage(
            input_tokens=900, output_tokens=120, total_tokens=1020, cache_read_tokens=700, cache_write_tokens=50,
            reasoning_tokens=30, service_tier="standard", raw={"input_tokens": 150},
        ),
        "cost": Cost(
            input_usd=Decimal("0.00081"), output_usd=Decimal("0.0018"), total_usd=Decimal("0.00261"), source="table",
        ),
        "time_to_first_token": 0.34567,
        "notes": (Note(name="retry", at=START + timedelta(seconds=1), value={"attempt": 2}),),
    }  # fmt: skip
    return event(number, parent, **given | fields)


def text_model(number: int, parent: int | None = 1, **fields: Any) -> Event:
    """A text model whose answer came from a cache."""
    given: dict[str, Any] = {
        "kind": Kind.MODEL,
        "name": "OpenAI",
        "model": "gpt-3.5-turbo-instruct",
        "provider": "openai",
        "inputs": {"prompt": "Say moon."},
        "outputs": {"text": "moon"},
        "usage": Usage(cached=True),
        "cost": Cost(total_usd=Decimal(0), source="given"),
    }
    return event(number, parent, **given | fields)


def failing_tool(number: int, parent: int | None = 1) -> Event:
    """A tool that raised."""
    return event(
        number, parent, kind=Kind.TOOL, name="sum", status=Status.ERROR, inputs={"numbers": [1, 2]},
        error=EventError(type="builtins.ValueError", message="no numbers", traceback="Traceback …\nno numbers"),
    )  # fmt: skip


def rich_tree(**root: Any) -> EventTree:
    """Every kind and every status, framework plumbing with a child, feedback."""
    said = {"role": "tool", "content": "The moon pulls.", "tool_call_id": "call_a", "name": "search"}
    return tree_of(
        chain_root(**root),
        event(2, kind=Kind.RETRIEVER, name="handbook", inputs={"query": "tides"}, outputs={"documents": DOCUMENTS}),
        event(3, 2, kind=Kind.EMBEDDING, name="embed", model="text-embedding-3-small", provider="openai",
              inputs={"texts": ["tides"]}, outputs={"count": 1, "dimensions": 1536},
              usage=Usage(input_tokens=2, total_tokens=2, inferred=True), cost=Cost(total_usd=Decimal("0.00000004"))),
        event(4, 2, kind=Kind.RERANKER, name="rank", model="rank-3", inputs={"query": "tides", "documents": DOCUMENTS},
              outputs={"documents": DOCUMENTS[:1]}),
        event(5, kind=Kind.AGENT, name="helper", inputs={"messages": [ASKED]},
              outputs={"messages": [ASKED, {"role": "assistant", "content": "The moon."}]},
              tags=("graph:step:1",), metadata={"step": 1, "eventtree_datapoint_id": "row-3"}),
        chat_model(6, 5),
        event(7, 5, kind=Kind.TOOL, name="search", inputs={"query": "tides"}, outputs=said),
        failing_tool(8, 5),
        event(9, 5, name="RunnableSequence", internal=True, inputs={"x": 1}),
        text_model(10, 9),
        event(11, 1, kind=Kind.TOOL, name="approve", status=Status.INTERRUPTED, inputs={"input": "send?"},
              notes=(Note(name="interrupt", at=START, value="Shall I?"),)),
        event(12, 1, kind=Kind.CHAIN, name="slow branch", status=Status.CANCELLED, inputs="a plain text",
              error=EventError(type="asyncio.CancelledError", message="")),
        event(13, 1, kind=Kind.MODEL, name="ChatOpenAI", model="gpt-4.1", provider="openai", status=Status.INCOMPLETE,
              inputs={"messages": [{"role": "user", "content": "And then?"}]}, duration=None, time_to_first_token=0.5),
        feedback=(
            {"id": ROOT, "score": 0.8, "name": "helpful", "comment": "good", "user": "ada"},
            {"id": ident(6), "score": -3, "name": "odd", "correction": "Gravity."},
        ),
    )  # fmt: skip


def wide_tree(count: int) -> EventTree:
    """A root with `count` - 1 descendants, each hanging under one that came well before it."""
    return tree_of(chain_root(), *(event(n, max(1, n // 2), name="step", inputs={"n": n}) for n in range(2, count + 1)))


# Any tree

TEXTS = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
SHAPED_KEYS = st.sampled_from(
    [
        "messages",
        "prompt",
        "text",
        "texts",
        "query",
        "documents",
        "input",
        "content",
        "role",
        "tool_calls",
        "chat_history",
    ]
)
PART = JSON | st.fixed_dictionaries({"type": st.just("image") | JSON, "url": TEXTS | JSON})
CALL = JSON | st.fixed_dictionaries({}, optional={"id": JSON, "name": JSON, "arguments": JSON})
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["system", "user", "assistant", "tool", "critic", ""]) | JSON,
        "content": TEXTS | st.lists(PART, max_size=2) | JSON,
        "tool_calls": st.lists(CALL, max_size=2),
        "tool_call_id": JSON, "name": JSON, "finish_reason": JSON, "reasoning": JSON, "status": JSON,
    },
)  # fmt: skip
SHORT = st.fixed_dictionaries(
    {"messages": st.lists(st.tuples(st.sampled_from(["user", "ai", "odd"]), JSON).map(list) | TEXTS, max_size=2)}
)
CONTENTS = SHORT | JSON | MESSAGES | st.lists(MESSAGES, max_size=2) | st.dictionaries(
    SHAPED_KEYS, JSON | MESSAGES | st.lists(MESSAGES | JSON, max_size=2), max_size=3
)  # fmt: skip
METADATA = st.dictionaries(
    st.sampled_from(["cost", "provider", "tool_call_id", "tags", "metadata", "eventtree_scores", "eventtree_expected",
                     "eventtree_datapoint_id", "eventtree_dataset_id", "eventtree_run_id"]) | TEXTS,
    JSON, max_size=3,
)  # fmt: skip
COUNTS = st.none() | st.integers(0, 10**12)
SECONDS = st.none() | st.floats(0, 10**6) | st.sampled_from([-1.0, float("nan"), float("inf")])
USD = st.none() | st.decimals(0, 10**6, allow_nan=False, allow_infinity=False)
USAGES = st.builds(
    Usage, input_tokens=COUNTS, output_tokens=COUNTS, total_tokens=COUNTS, cache_read_tokens=COUNTS,
    cache_write_tokens=COUNTS, reasoning_tokens=COUNTS, input_audio_tokens=COUNTS, inferred=st.booleans(), raw=JSON,
)  # fmt: skip
PARAMS = st.sampled_from(["tools", "temperature", "stop", "tool_choice"]) | TEXTS
NOTES = st.builds(Note, name=TEXTS, at=st.datetimes(timezones=st.just(UTC)), value=JSON)
FIELDS: Mapping[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(Kind),
    "name": TEXTS,
    "status": st.sampled_from(Status),
    "error": st.none() | st.builds(EventError, type=TEXTS, message=TEXTS, traceback=st.none() | TEXTS),
    "internal": st.booleans(),
    "inputs": CONTENTS,
    "outputs": CONTENTS,
    "session_id": st.none() | TEXTS,
    "model": st.none() | TEXTS,
    "provider": st.none() | TEXTS,
    "params": st.none() | st.dictionaries(PARAMS, CONTENTS, max_size=3),
    "usage": st.none() | USAGES,
    "cost": st.none() | st.builds(Cost, input_usd=USD, output_usd=USD, total_usd=USD, source=st.none() | TEXTS),
    "start": st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC) | st.none()),
    "duration": SECONDS,
    "time_to_first_token": SECONDS,
    "tags": st.lists(TEXTS, max_size=3).map(tuple),
    "metadata": METADATA,
    "user": st.none() | TEXTS,
    "environment": st.none() | TEXTS,
    "framework": st.none() | TEXTS,
    "notes": st.lists(NOTES, max_size=2).map(tuple),
}  # fmt: skip
FEEDBACK = st.fixed_dictionaries(
    {"id": st.integers(0, 12).map(ident) | JSON},
    optional={"score": JSON, "name": JSON, "comment": TEXTS, "correction": JSON, "user": TEXTS},
)


@st.composite
def trees(draw: st.DrawFn, max_events: int = 5, fields: Mapping[str, st.SearchStrategy[Any]] = FIELDS) -> EventTree:
    """Any tree: parents before children, else of any shape, any content, any contradiction."""
    count = draw(st.integers(1, max_events))
    events = []
    for number in range(1, count + 1):
        parent = None if number == 1 else draw(st.integers(1, number - 1))
        events.append(event(number, parent, **draw(st.fixed_dictionaries(dict(fields)))))
    return tree_of(*events, feedback=tuple(draw(st.lists(FEEDBACK, max_size=3))))


def nested(depth: int, kind: str = "list") -> Any:
    """A value so many levels deep: lists, objects, or messages in messages."""
    value: Any = "the innermost"
    for _ in range(depth):
        value = {"list": [value], "object": {"a": value}, "message": {"role": "user", "content": [value]}}[kind]
    return value


DEEP = st.builds(nested, st.sampled_from([150, 198, 250, 254, 300]), st.sampled_from(["list", "object", "message"]))
ODD = DEEP | st.sampled_from([10**400, -(10**4000), 1e308, float("inf"), {"messages": nested(254, "message")}])
ODD_USD = st.none() | st.sampled_from([Decimal("1e400"), Decimal("1e999999"), Decimal("1e-999999")])
ODD_COUNTS = st.none() | st.sampled_from([0, 10**400])
ODD_SECONDS = st.none() | st.sampled_from([0.0, 1e11, 1e15, 1e306, 1e308, -1e308])
ODD_FIELDS: Mapping[str, st.SearchStrategy[Any]] = {
    **FIELDS,
    "inputs": CONTENTS | ODD,
    "outputs": CONTENTS | ODD,
    "params": st.none() | st.dictionaries(PARAMS, CONTENTS | ODD, max_size=2),
    "usage": st.none() | st.builds(Usage, input_tokens=ODD_COUNTS, total_tokens=ODD_COUNTS, raw=ODD),
    "cost": st.none() | st.builds(Cost, input_usd=ODD_USD, output_usd=ODD_USD, total_usd=ODD_USD),
    "start": st.datetimes(timezones=st.just(UTC) | st.none())
    | st.sampled_from([datetime.min, datetime.max, datetime(1970, 1, 1, tzinfo=UTC)]),
    "duration": ODD_SECONDS,
    "time_to_first_token": ODD_SECONDS,
    "metadata": METADATA | st.dictionaries(st.sampled_from(["cost", "eventtree_scores", "eventtree_expected"]), ODD),
    "notes": st.lists(st.builds(Note, name=TEXTS, at=st.datetimes(), value=ODD), max_size=1).map(tuple),
}
"""Fields at the edges of what a journal can hold, and a little beyond."""
ODD_TIMES = st.sampled_from([0, -1, 10**18, 10**21, 10**30, -(10**30)])


def bounded(tree: EventTree) -> EventTree:
    """The tree with durations of a day at most: the judges take longer ones for a wrong unit."""
    durations = (None if e.duration is None else min(max(e.duration, 0.0), 86_400.0) for e in tree.events)
    events = (e.model_copy(update={"duration": d}) for e, d in zip(tree.events, durations, strict=True))
    return tree.model_copy(update={"events": tuple(events)})
