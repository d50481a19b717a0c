"""The trees that the frameworks' scenarios leave, as vendors get them: `pytest tests/langchain --vendors=otlp`."""

from __future__ import annotations

from collections.abc import Iterable

from eventtree.event import EventTree
from eventtree.serializer.view import TreeView
from eventtree.testing.contracts.contract import Options
from eventtree.trace import span_id
from eventtree.vendors import vendor_class
from tests.vendors import judges

PROJECT = "5eed0000-0000-4000-8000-00000000beef"
MOST = 200
"""Events of a tree: of many alike nothing more is learned."""


def judge(trees: Iterable[EventTree], kinds: str) -> None:
    """Hold what each vendor is sent of the trees against its contract; OTLP has one span for each event, below its own
    parent.
    """
    for tree in (tree for tree in trees if len(tree.events) <= MOST):
        for kind in filter(None, kinds.split(",")):
            vendor = vendor_class(kind).for_export(**({"project_id": PROJECT} if kind == "braintrust" else {}))
            requests = judges.check_encoding(vendor, tree)
            assert judges.problems(vendor, requests, Options(braintrust_projects=frozenset({PROJECT}))) == []
            if kind == "otlp":
                view = TreeView.of(tree)
                parents = {span_id(event.id): view.parent_id(event) for event in view.events}
                bodies = [group for one in requests for group in one.body["resourceSpans"]]
                spans = [span for group in bodies for scope in group["scopeSpans"] for span in scope["spans"]]
                sent = {span["spanId"]: span.get("parentSpanId") for span in spans}
                assert len(spans) == len(parents)
                assert sent == {one: span_id(parent) if parent else None for one, parent in parents.items()}
