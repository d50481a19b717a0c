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
from eventtree.serializer.view import own_metadata
from eventtree.testing import capture
from eventtree.tree.prompts import prompt_of


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
