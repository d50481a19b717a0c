"""Every kind of request that a vendor can be sent: each setting, late feedback, evaluations, lookups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from eventtree.event import Cost, EventTree, Note, Usage
from eventtree.kinds import Kind
from eventtree.serializer.packing import names_in, request
from eventtree.serializer.requests import Lookup
from eventtree.serializer.serialize import serialize
from eventtree.serializer.vendor import Vendor
from tests.vendors.trees import START, chain_root, chat_model, event, ident, rich_tree, tree_of

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "honeyhive": [{}, {"generation": "v1"}],
    "humanloop_v5": [{}, {"save": False, "provider_payloads": True}],
    "humanloop_v4": [{"save": False, "provider_payloads": True}],
    "braintrust": [{}, {"experiment": "nightly", "org_name": "acme"}],
    "nebuly": [
        {"version": "v2", "hide_content": True, "feature_flags": ("b",), "end_user_group_profile": "g"},
        {"version": "v3"},
    ],
    "otlp": [
        {"flavor": flavor, "scores": "logs", "resource": {"host.name": "h"}}
        for flavor in ("genai", "openinference", "langfuse", "langsmith", "mlflow")
    ],
}
SAID: dict[str, Any] = {
    "key": "4f3f77fc-4d1c-4f3e-8f6e-0c6f8d2b8a10", "id": ident(1), "tree": ident(1), "at": 1_800_000_000_000_000_000,
    "score": {"exact": 1, "length": 20}, "comment": "good", "correction": "The moon.", "user": "ada",
    "metadata": {"page": 3},
}  # fmt: skip
LEARNED = {f"data_id:{ident(number)}": f"data_{number}" for number in range(1, 30)}


def trees() -> list[EventTree]:
    """Everything in one; one that failed; a talk; lone runs; one of an experiment and an evaluation."""
    agent = event(
        2, kind=Kind.AGENT, name="agent", model="gpt-4.1", provider="openai", user="ada", environment="e",
        inputs={"messages": [{"role": "user", "content": "Why?"}]},
        outputs={"messages": [{"role": "assistant", "content": "So."}]},
        usage=Usage(input_tokens=1, output_tokens=1, total_tokens=2), cost=Cost(input_usd=1, output_usd=1, total_usd=2),
    )  # fmt: skip
    failed = {"status": "error", "error": {"type": "E", "message": "no", "traceback": None}}
    talk = {
        "inputs": {"messages": [{"role": "user", "content": "Why?"}]},
        "outputs": {"messages": [{"role": "assistant", "content": "So."}]},
    }
    kinds = [
        event(number, kind=kind, environment="e", user="ada", inputs={"query": "q"}, model="m", **failed)
        for number, kind in enumerate((Kind.TOOL, Kind.MODEL, Kind.AGENT, Kind.CHAIN), 3)
    ]
    lines = (Note(name="log", at=START, value={"level": "INFO", "logger": "app", "line": "looked up"}),)
    caller = {"function": "main", "file": "app.py", "line": 7}
    links = chain_root().metadata | {
        "eventtree_caller": caller, "eventtree_feature_flags": ["a", "b"], "eventtree_run_id": "ev_7",
        "eventtree_experiment": "per tree",
    }  # fmt: skip
    logged = [
        event(n, kind=kind, notes=lines, model="m") for n, kind in enumerate((Kind.MODEL, Kind.TOOL, Kind.AGENT), 2)
    ]
    return [
        rich_tree(),
        tree_of(chain_root(**failed), agent, *kinds),
        tree_of(chain_root(**talk)),
        tree_of(chat_model(1, None, metadata=chain_root().metadata, environment="e", user="ada")),
        tree_of(event(1, None, kind=Kind.TOOL, environment="e", metadata=links, inputs={"query": "q"})),
        tree_of(chain_root(metadata=links), chat_model(2)),
        tree_of(chain_root(notes=lines), *logged),
    ]


def made(vendor: Vendor, tree: EventTree, said: dict[str, Any] = SAID) -> Iterator[tuple[str, str, str, Any]]:
    """(route, method, path, body) of each request for a tree, for what ends late in it, and for a late feedback."""
    late = [
        *vendor.encode_update(tree, [event.id for event in tree.events]),
        *vendor.encode_feedback({**said, "tree": tree.id}, tree, LEARNED).items,
    ]
    for one in [*serialize([tree], vendor), *(request((item,), vendor) for item in late)]:
        for lookup in map(vendor.lookup_of, names_in(one.url)):
            if lookup is not None:
                yield "lookup", lookup.method, lookup.path, body_of(lookup)
        yield one.items[0].route, one.method, urlsplit(one.url).path, one.body


def body_of(lookup: Lookup) -> Any:
    """The body of a lookup, whose `{names}` stay."""
    from pydantic_core import from_json

    return from_json(lookup.content)


def every_request(vendor: Vendor) -> Iterator[tuple[str, str, str, Any]]:
    """(route, method, path, body) of everything this vendor can be sent."""
    for tree in trees():
        yield from made(vendor, tree, {**SAID, "id": tree.root.id})
