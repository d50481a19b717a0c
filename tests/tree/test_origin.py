"""Where a tree comes from: release, service, and the prompt a model was asked with; in vendors' metadata too."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate

import eventtree
from eventtree.event import Event
from eventtree.langchain import CallbackHandler
from eventtree.serializer.serialize import serialize
from eventtree.serializer.view import own_metadata
from eventtree.testing import VendorServer, capture
from eventtree.tree.prompts import prompt_of
from eventtree.vendors import vendor_class
from tests.vendors.trees import chain_root, chat_model, tree_of


def test_the_platforms_variables_say_release_and_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEROKU_SLUG_COMMIT", "abc123")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    with capture() as trees, eventtree.span("root", handler=CallbackHandler()):
        pass
    [one] = trees
    assert (one.root.release, one.root.service) == ("abc123", "shop")
    monkeypatch.setenv("EVENTTREE_RELEASE", "v7")
    with capture() as trees, eventtree.span("root", handler=CallbackHandler(service="till")):
        pass
    [two] = trees
    assert (two.root.release, two.root.service) == ("v7", "till")
    assert own_metadata(two.root) == {"release": "v7", "service": "till"}


PLACES: dict[str, Any] = {
    "braintrust": lambda body: [row["metadata"]["metadata"] for row in body["events"]],
    "honeyhive": lambda body: [row["metadata"] for row in body["events"]] if "events" in body else [],
    "humanloop_v5": lambda body: [body.get("metadata", {})],
    "humanloop_v4": lambda body: [log["metadata"] for log in body],
    "nebuly": lambda body: [body["interaction"]["tags"]],
}
"""Vendor → where a request has an event's metadata."""


@pytest.mark.parametrize("kind", PLACES)
def test_every_vendor_is_told_all_three(kind: str) -> None:
    root = chain_root(metadata={}, release="v7", service="till")
    model = chat_model(2, metadata={}, prompt={"name": "greet", "version": "3"})
    with VendorServer() as server:
        vendor = vendor_class(kind)(**server.settings(kind))
    told = [said for made in serialize([tree_of(root, model)], vendor) for said in PLACES[kind](made.body)]
    for name, value in {"release": "v7", "service": "till", "prompt_name": "greet", "prompt_version": "3"}.items():
        assert [said[name] for said in told if name in said] in ([value], [value] * 2), (name, told)


def test_humanloops_prompt_is_the_one_that_was_named() -> None:
    model = chat_model(2, prompt={"name": "ada/greet", "version": "3"})
    with VendorServer() as server:
        vendor = vendor_class("humanloop_v5")(**server.settings("humanloop_v5"))
    paths = [made.body["path"] for made in serialize([tree_of(chain_root(), model)], vendor) if "path" in made.body]
    assert any(path.endswith("/prompts/ada-greet") for path in paths)


def asked(metadata: dict[str, Any], on_call: dict[str, Any] | None = None) -> Event:
    prompt: Any = ChatPromptTemplate.from_messages([("user", "{q}")])
    prompt.metadata = metadata
    chain = prompt | FakeListChatModel(responses=["a"])
    config: Any = {"callbacks": [CallbackHandler()], "metadata": on_call or {}}
    with capture() as trees:
        chain.invoke({"q": "?"}, config)
    [tree] = trees
    return next(event for event in tree.events if event.kind == "model")


def test_a_model_names_the_prompt_that_was_pulled_from_a_library() -> None:
    hub = {"lc_hub_owner": "ada", "lc_hub_repo": "greet", "lc_hub_commit_hash": "f00"}
    found = asked(hub)
    assert found.prompt == {"name": "ada/greet", "version": "f00"}
    assert own_metadata(found).items() >= {"prompt_name": "ada/greet", "prompt_version": "f00"}.items()
    assert asked({}, {"eventtree_prompt": "greet@3"}).prompt == {"name": "greet", "version": "3"}
    assert asked({}).prompt is None


def test_a_prompt_that_own_code_names_is_that_of_the_models_below_it() -> None:
    named = {"eventtree_prompt": "greet@3"}
    with capture() as trees, eventtree.span("answer", metadata=named), eventtree.span("draft"):
        FakeListChatModel(responses=["a"]).invoke("?", {"callbacks": [CallbackHandler()]})
        with eventtree.span("own", kind="model", metadata={"eventtree_prompt": "greet@4"}):
            pass
    versions = {event.name: event.prompt and event.prompt["version"] for event in trees[0].events}
    assert versions == {"answer": None, "draft": None, "FakeListChatModel": "3", "own": "4"}


def test_langfuses_prompt_client_is_read_by_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("langfuse.model")
    exec(
        "class BasePromptClient:\n    def __init__(self): self.name, self.version, self.prompt = 'greet', 4, 'secret'\n"
        "class ChatPromptClient(BasePromptClient): pass",
        module.__dict__,
    )
    monkeypatch.setitem(sys.modules, "langfuse.model", module)
    assert asked({"langfuse_prompt": module.ChatPromptClient()}).prompt == {"name": "greet", "version": "4"}


@pytest.mark.parametrize("odd", [{}, {"eventtree_prompt": 7}, {"langfuse_prompt": "x"}, {"lc_hub_commit_hash": "a"}])
def test_what_names_no_prompt_is_none(odd: dict[str, Any]) -> None:
    assert prompt_of(odd) is None
