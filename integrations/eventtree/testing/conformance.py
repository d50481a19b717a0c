"""`check_vendor`: checks that a vendor of your own keeps the rules that delivery relies on. No network."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from eventtree import diagnostics
from eventtree.event import Cost, Event, EventError, EventTree, Note, Usage
from eventtree.kinds import JsonValue, Kind, Status
from eventtree.serializer.packing import names_in, request
from eventtree.serializer.registry import resolve_vendors, vendor_class, vendor_of
from eventtree.serializer.requests import Encoded, Item, Request, Verdict
from eventtree.serializer.serialize import serialize
from eventtree.serializer.vendor import Feedback, Vendor

START = datetime(2026, 3, 4, 5, 6, 7, 890123, UTC)
KEY = "a-key-that-must-not-be-seen"
REPLIES: tuple[tuple[int, bytes], ...] = (
    (200, b""), (200, b"{}"), (200, b"null"), (200, b"[]"), (200, b'"x"'), (200, b"<html>"), (200, b"\xff\x00"),
    (200, b'{"id": 7, "errors": [null]}'), (204, b""), (207, b'{"x": 1}'), (400, b"{}"), (500, b"no"),
)  # fmt: skip
"""Answers that any server may give: a status and a body."""
WIDE, DEEP = 2_000, 1_200
"""Events of the largest tree, and of the deepest."""
SLACK_BYTES = 10_000
"""Size that an envelope may add to a full request."""


def check_vendor(vendor: Vendor | type[Vendor] | str) -> None:
    """Check the rules that delivery relies on; a class or a name (`package.module:Class`) is made as for export.

    Raises:
        AssertionError: it breaks a rule; the message lists all broken rules, with the line where its code raised.
        ConfigError: there is no vendor of that name, or it cannot be made.
    """
    if isinstance(vendor, str):
        vendor = vendor_class(vendor)
    if isinstance(vendor, type):
        vendor = vendor_of(vendor, vendor.__qualname__).for_export(api_key=KEY)
    (one,) = resolve_vendors((vendor,))
    check = _Check(one)
    check.run()
    if check.found:
        listed = "\n".join(f"- {finding}" for finding in dict.fromkeys(check.found))
        raise AssertionError(f"{one.name} breaks {len(set(check.found))} rules of a vendor:\n{listed}")


class _Check:
    """One vendor, and the broken rules found."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.found: list[str] = []

    def run(self) -> None:
        self.settings()
        for name, tree in example_trees().items():
            before = tree.model_dump_json()
            encoded = self.called(f"encode of {name}", partial(self.vendor.encode, tree))
            if encoded is None or not self.encoded(name, tree, encoded):
                continue
            self.holds(tree.model_dump_json() == before, f"encode of {name} changes the tree")
            again = self.called(f"encode of {name}, once more", partial(self.vendor.encode, tree))
            self.holds(again == encoded, f"encode of {name} gives something else the second time")
            self.requests(name, tree)
            self.late(name, tree)

    def called(self, what: str, call: Callable[[], Any]) -> Any:
        """The result of the vendor's code; None, and a finding, if it raises."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001  (code of others: whatever it raises is a finding)
            self.found.append(f"{what} raises {diagnostics.described(error, type(self.vendor).__module__)}")
            return None

    def holds(self, rule: bool, broken: str) -> bool:
        """Whether a rule holds; a finding if not."""
        if not rule:
            self.found.append(broken)
        return rule

    def settings(self) -> None:
        """Check its name, its key and its destination."""
        one = self.vendor
        self.holds(re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", one.kind) is not None, f"kind {one.kind!r} is no word")
        self.holds(bool(one.routes), "routes is empty: nothing can be sent")
        for secret in self.called("secrets", one.secrets) or ():
            shown = repr(one).encode() + (self.called("pickle", lambda: pickle.dumps(one)) or b"")
            self.holds(secret.encode() not in shown, "repr or pickle show the key")
            self.holds(secret not in "".join(self.called("identity", one.identity) or ()), "identity holds the key")
        for pair in (self.called("auth", one.auth) or {}).items():
            if self.holds(all(isinstance(text, str) for text in pair), "auth gives headers that are no texts"):
                text = "".join(pair)
                self.holds(text.isascii() and text.isprintable(), "auth gives headers that HTTP forbids")
        self.called("fingerprint", lambda: one.fingerprint(b"salt"))
        self.called("advice", one.advice)

    def encoded(self, name: str, tree: EventTree, encoded: Any) -> bool:
        """Check that each event is in one item, or dropped for a reason."""
        if not self.holds(isinstance(encoded, Encoded), f"encode of {name} gives no Encoded"):
            return False
        wrong = [item for item in encoded.items if not isinstance(item, Item) or not isinstance(item.content, bytes)]
        if not self.holds(not wrong, f"encode of {name} gives items that are no Item with bytes as content"):
            return False
        unknown = {item.route for item in encoded.items} - self.vendor.routes.keys()
        if not self.holds(not unknown, f"encode of {name} names routes that are not in routes: {sorted(unknown)}"):
            return False
        keys = [item.key for item in encoded.items]
        self.holds(len(keys) == len(set(keys)), f"encode of {name} gives one key to several items")
        self.holds({item.tree_id for item in encoded.items} <= {tree.id}, f"items of {name} name another tree")
        counted = sorted([*(one for item in encoded.items for one in item.event_ids), *encoded.dropped])
        self.holds(
            counted == sorted(event.id for event in tree.events),
            f"encode of {name} does not account for each event once, in an item's event_ids or in dropped",
        )
        reasons = [reason for reason in encoded.dropped.values() if not isinstance(reason, str) or not reason]
        return self.holds(not reasons, f"encode of {name} drops events without a reason")

    def requests(self, name: str, tree: EventTree) -> None:
        """Check that requests can be sent, and answers read."""
        for made in self.called(f"making requests of {name}", lambda: list(serialize([tree], self.vendor))) or ():
            route = self.vendor.routes[made.items[0].route]
            self.holds(len(made.items) <= route.max_items, f"a request of {name} has more items than its route takes")
            large = len(made.items) > 1 and len(made.content) > self.vendor.max_bytes + SLACK_BYTES
            self.holds(not large, f"a request of {name} is larger than max_bytes")
            own, path = self.vendor.base_url, made.url.removeprefix(self.vendor.base_url)
            is_below = made.url == own + path and path[:1] in ("", "/", "?")
            self.holds(is_below, f"a request of {name} leaves base_url")
            lacking = [one for one in names_in(made.url) if self.vendor.lookup_of(one) is None]
            self.holds(not lacking, f"the url of {name} has names that no lookup fills: {lacking}")
            self.called(f"the body of a request of {name}", partial(getattr, made, "body"))
            self.answers(name, made)

    def answers(self, name: str, made: Request) -> None:
        """Check that any answer of any server is read, and that a verdict names only items of the request."""
        keys = {item.key for item in made.items}
        for status, body in REPLIES:
            what = f"read_reply to {status} {body!r} on {name}"
            verdict = self.called(what, partial(self.vendor.read_reply, made, status, body))
            if verdict is not None and self.holds(isinstance(verdict, Verdict), f"{what} gives no Verdict"):
                about = {*verdict.refused, *verdict.retry, *verdict.rejected}
                self.holds(about <= keys, f"{what} speaks of items that were not sent")

    def body_of(self, item: Item) -> JsonValue:
        """The body of a request with one item."""
        return request((item,), self.vendor).body

    def late(self, name: str, tree: EventTree) -> None:
        """Check feedback, and updates of runs that end late."""
        for given in feedback_on(tree):
            for known in (tree, None):
                what = f"encode_feedback on {name}" + ("" if known else " that is gone")
                encoded = self.called(what, partial(self.vendor.encode_feedback, given, known, {}))
                for item in encoded.items if isinstance(encoded, Encoded) else ():
                    self.holds(item.key.startswith(str(given["key"])), f"{what}: keys must begin with the feedback's")
                    self.holds(not item.event_ids, f"{what}: feedback counts for no event")
                    self.called(what, partial(self.body_of, item))
        if self.vendor.accepts_updates:
            ended = [event.id for event in tree.events]
            items = self.called(f"encode_update of {name}", lambda: self.vendor.encode_update(tree, ended)) or ()
            self.holds(not any(item.event_ids for item in items), f"encode_update of {name} counts events")


def feedback_on(tree: EventTree) -> Iterator[Feedback]:
    """Scores of several kinds, comments and corrections."""
    given: tuple[Mapping[str, JsonValue], ...] = (
        {"score": 0.5}, {"score": True, "name": "helpful", "comment": "good"}, {"score": {"a": 1, "b": -3.5}},
        {"score": "fair", "name": ""}, {"comment": "only words"}, {"correction": {"answer": 42}, "user": "ada"},
        {"score": None, "comment": {"odd": [1]}, "metadata": {"page": 3}},
    )  # fmt: skip
    for number, one in enumerate(given):
        yield {"key": str(UUID(int=900 + number)), "id": tree.id, "tree": tree.id, "at": 1_800_000_000 * 10**9, **one}


def example_trees() -> dict[str, EventTree]:
    """Trees by name: all kinds and statuses, odd contents, times and figures, single runs, very wide and deep ones."""
    message = {
        "role": "user",
        "content": [{"type": "text", "text": "Why?"}, {"type": "image", "url": "https://x.test/i"}],
    }
    answer = {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "name": "f", "arguments": {"x": 1}}]}
    document = {"id": "d", "text": "The moon.", "score": 0.5, "metadata": {"page": 3}}
    contents: Mapping[Kind, dict[str, Any]] = {
        Kind.MODEL: {"inputs": {"messages": [message]}, "outputs": {"messages": [answer]}, "model": "m",
                     "provider": "p", "params": {"temperature": 0.5, "tools": [{"name": "f"}]},
                     "time_to_first_token": 0.1,
                     "usage": Usage(input_tokens=9, output_tokens=3, total_tokens=12, cache_read_tokens=4),
                     "cost": Cost(total_usd=Decimal("0.25"), source="table")},
        Kind.TOOL: {"inputs": {"x": 1}, "outputs": "1"},
        Kind.RETRIEVER: {"inputs": {"query": "q"}, "outputs": {"documents": [document]}},
        Kind.RERANKER: {"inputs": {"query": "q", "documents": [document]}, "outputs": {"documents": [document]}},
        Kind.EMBEDDING: {"inputs": {"texts": ["q"]}, "outputs": {"count": 1, "dimensions": 3}, "model": "e"},
        Kind.AGENT: {"inputs": {"messages": [message]}, "outputs": {"messages": [answer]}},
        Kind.CHAIN: {"inputs": {"question": "q"}, "outputs": {"answer": "a"}},
    }  # fmt: skip
    known = {"session_id": "s", "user": "u", "tags": ("t",), "metadata": {"own": 1}, "environment": "e"}
    error = EventError(type="builtins.ValueError", message="no", traceback="Traceback …")
    kinds = [_event(number, kind=kind, **contents[kind]) for number, kind in enumerate(Kind, 2)]
    statuses = [
        _event(number, status=status, duration=None if status is Status.INCOMPLETE else 1.0,
               error=error if status is Status.ERROR else None)
        for number, status in enumerate(Status, 20)
    ]  # fmt: skip
    odd = {"text": "\u0000 \u202e 💥", "deep": [[[[[[1]]]]]], "large": 10**30, "none": None, "": {"": ""}}
    note = Note(name="retry", at=START, value=odd)
    return {
        "every kind": _tree(_event(1, None, **known), *kinds, _event(40, internal=True), feedback=True),
        "every status": _tree(_event(1, None, **known), *statuses),
        "odd contents": _tree(
            _event(
                1, None, name="", inputs=odd, outputs=[odd], metadata=odd, notes=(note,), tags=("", "a b"), duration=0.0
            ),
            _event(2, kind=Kind.MODEL, inputs="text", outputs=odd, params=odd),
            _event(3, kind=Kind.RETRIEVER, inputs=None, outputs={"documents": [odd, "x", None]}),
        ),
        **{f"a lone {kind}": _tree(_event(1, None, kind=kind, **contents[kind])) for kind in Kind},
        "a deep tree": _tree(_event(1, None), *(_event(n, n - 1) for n in range(2, DEEP + 1))),
        "a wide tree": _tree(_event(1, None), *(_event(n, max(1, n // 2)) for n in range(2, WIDE + 1))),
    }


def _event(number: int, parent: int | None = 1, **fields: Any) -> Event:
    known: dict[str, Any] = {
        "id": str(UUID(int=number)), "parent_id": None if parent is None else str(UUID(int=parent)),
        "tree_id": str(UUID(int=1)), "kind": Kind.CHAIN, "name": f"event {number}", "status": Status.OK,
        "start": START + timedelta(milliseconds=number), "duration": 1.0,
    }  # fmt: skip
    return Event(**known | fields)


def _tree(*events: Event, feedback: bool = False) -> EventTree:
    given = ({"id": events[0].id, "score": 0.8, "name": "helpful", "comment": "good"},) if feedback else ()
    return EventTree(id=events[0].tree_id, events=events, feedback=given)
