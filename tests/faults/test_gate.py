"""Every field of every kind of record passes the gate: redacted, or left out where contents are off."""

from __future__ import annotations

import asyncio
import enum
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import FunctionTool
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.dispatcher import instrument_tags

import eventtree
from eventtree import LogHandler, record
from eventtree.content import known_secrets
from eventtree.journal import open_journal
from eventtree.journal.files import Files
from eventtree.journal.line import LineReader
from eventtree.langchain import CallbackHandler
from eventtree.llama_index import DispatcherHandler, set_global_handler
from eventtree.recording.recorder import recorder

BODY = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3z"


class Canaries:
    """Texts that hold a secret, numbered, so that a leak names its place."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def __call__(self, place: str) -> str:
        secret = f"sk-proj-{len(self.places):04d}{BODY}"
        self.places[secret] = place
        return f"a {secret} text"

    def every(self, place: str) -> Any:
        """A secret under, and as, keys of every class."""

        class Word(enum.StrEnum):
            KEY = self(f"{place}: StrEnum")
            NAME = "api_key"

        class Member(enum.Enum):
            KEY = self(f"{place}: Enum")
            NAME = "password"

        class Text(str):
            pass

        keys = [Word.KEY, Member.KEY, Text(self(f"{place}: str subclass")), self(f"{place}: bytes").encode()]
        hidden = [Word.NAME, Member.NAME, Text("secret"), b"access_token"]
        out: dict[Any, Any] = {key: self(f"{place}: value under {type(key).__name__}") for key in keys}
        out |= {key: self.bare(f"{place}: value under secret {type(key).__name__}") for key in hidden}
        return {**out, self(f"{place}: key"): [self(f"{place}: nested"), ValueError(self(f"{place}: exception"))]}

    def bare(self, place: str) -> str:
        """A secret that only its key can tell."""
        secret = f"hunter{len(self.places):04d}"
        self.places[secret] = place
        return secret

    def found_in(self, text: str) -> list[str]:
        """Where what got through was put in."""
        return sorted(place for secret, place in self.places.items() if secret in text)


@pytest.fixture
def canary() -> Canaries:
    return Canaries()


def raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def through_langchain(handler: CallbackHandler, canary: Canaries) -> None:
    """Each callback with a canary in each argument."""
    root, ids = uuid.uuid4(), iter(uuid.uuid4, None)
    about = canary.every("metadata") | {"ls_stop": [canary("ls_stop")], "user_id": canary("metadata user")}
    about["session_id"] = canary("metadata session")
    chain: Any = {"metadata": about, "tags": [canary("tag")], "name": canary("chain name")}
    handler.on_chain_start({}, canary.every("chain inputs"), run_id=root, **chain)
    prompt = {
        "id": ["langchain", "PromptTemplate"],
        "kwargs": {"template": canary("template"), "partial_variables": canary.every("partial")},
    }
    run = next(ids)
    handler.on_chain_start(
        prompt, {"q": canary("prompt input")}, run_id=run, parent_run_id=root, run_type="prompt", name="p"
    )
    handler.on_chain_end(canary.every("chain outputs"), run_id=run)
    for number, asked in enumerate(([[HumanMessage(canary("message"))]], [canary("prompt")])):
        run = next(ids)
        settings = {
            "model": canary("asked model"), "stop": [canary("stop")], "tools": [canary.every("tools")],
            "prediction": {"content": canary("prediction")}, "response_format": canary.every("format"),
            "tool_choice": canary("tool choice"), "reasoning_effort": canary("effort"), "logit_bias": {canary("b"): 1},
        }  # fmt: skip
        more: Any = {
            "invocation_params": settings, "name": canary("model name"), "tags": [canary("model tag")],
            "metadata": {"ls_provider": canary("provider"), "ls_model_name": canary("ls model"),
                         "ls_structured_output_format": canary.every("ls format"), "ls_stop": [canary("model stop")]},
        }  # fmt: skip
        serialized = {"kwargs": {"base_url": f"https://host/{canary('base url')}"}, "id": [canary("class")]}
        start: Any = (handler.on_llm_start, handler.on_chat_model_start)[number == 0]
        start(serialized, asked, run_id=run, parent_run_id=root, **more)
        handler.on_llm_new_token(canary("token"), run_id=run)
        handler.on_retry(SimpleNamespace(outcome=None, attempt_number=1, next_action=None), run_id=run)
        said = {
            "model_name": canary("answered model"), "model_id": canary("id"), "model_provider": canary("answered"),
            "finish_reason": canary("finish"), "token_usage": {"prompt_tokens": 7, **canary.every("usage")},
            "system_fingerprint": canary("fingerprint"), "headers": {"x-litellm-response-cost": canary("cost")},
        }  # fmt: skip
        message = AIMessage(canary("answer"), response_metadata=said, id=canary("message id"))
        answer: Any = ChatGeneration(message=message) if number == 0 else Generation(text=canary("text"))
        result = LLMResult(generations=[[answer]], llm_output={"model_name": canary("llm output"), **said})
        if number == 0:
            handler.on_llm_end(result, run_id=run)
        else:
            handler.on_llm_error(raised(canary("model error")), run_id=run, response=result)
    run = next(ids)
    handler.on_tool_start({"name": canary("tool name")}, canary("tool input"), run_id=run, parent_run_id=root,
                          inputs=canary.every("tool inputs"), tool_call_id=canary("call id"))  # fmt: skip
    logging.getLogger("app").warning("%s", canary("log line"))
    handler.on_custom_event(canary("event name"), canary.every("event"), run_id=run)
    handler.on_custom_event("eventtree_cost", canary("cost note"), run_id=run)
    handler.on_tool_error(raised(canary("tool error")), run_id=run)
    run = next(ids)
    handler.on_retriever_start({}, canary("query"), run_id=run, parent_run_id=root)
    handler.on_retriever_end([Document(canary("document"), metadata=canary.every("document"))], run_id=run)
    run = next(ids)
    handler.on_chain_start({}, {}, run_id=run, parent_run_id=root, name="cancelled")
    handler.on_chain_error(asyncio.CancelledError(canary("cancelled")), run_id=run)
    for hook, status in ((handler.on_interrupt, "paused"), (handler.on_resume, "resumed")):
        event = SimpleNamespace(
            run_id=root, interrupts=(SimpleNamespace(id=canary("interrupt id"), value=canary.every("interrupt")),),
            checkpoint_id=canary("checkpoint"), checkpoint_ns=(canary("checkpoint ns"),), status=canary(status),
        )  # fmt: skip
        hook(event)
    run = next(ids)
    handler.on_chat_model_start({}, [[HumanMessage("x")]], run_id=run, parent_run_id=root)
    handler.on_llm_new_token(canary("partial"), run_id=run)  # left open
    handler.on_chain_error(raised(canary("chain error")), run_id=root)


class Talking(CustomLLM):
    """A model with a canary in all it says of itself."""

    model: str
    api_base: str
    temperature: float = 0.5
    stop: list[str]
    tools: Any
    said: dict[str, Any]
    text: str

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model)

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage(self.text, additional_kwargs=self.said), raw=self.said)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise ValueError(self.text)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        def parts() -> Iterator[CompletionResponse]:
            yield CompletionResponse(text=self.text, delta=self.text, raw=self.said)

        return parts()


class Embedding(BaseEmbedding):
    """One vector for all texts."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return [1.0]

    _get_query_embedding = _get_text_embedding

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return [1.0]


def through_llama_index(canary: Canaries) -> None:
    """Spans and events of every kind with a canary in each part."""
    dispatcher = get_dispatcher()
    said = {
        "model": canary("answered model"), "finish_reason": canary("finish"), "service_tier": canary("tier"),
        "usage": {"prompt_tokens": 7, canary("usage key"): canary("usage"), "api_key": canary.bare("usage api key")},
    }  # fmt: skip
    model = Talking(
        model=canary("asked model"), api_base=f"https://host/{canary('api base')}", stop=[canary("stop")],
        tools=[canary.every("tools")], said=said, text=canary("answer"),
    )  # fmt: skip

    class Own(BaseEvent):
        words: Any

    def work(**given: Any) -> Any:
        raise ValueError(canary("tool error"))

    @dispatcher.span
    def outer(given: Any, **more: Any) -> Any:
        model.chat([ChatMessage(canary("message"), additional_kwargs={"tool_call_id": canary("call id")})])
        with pytest.raises(ValueError, match="sk-"):
            model.complete(canary("prompt"), prediction=canary("prediction"))
        list(model.stream_complete(canary("stream prompt")))
        Embedding(model_name=canary("embedding model")).get_text_embedding(canary("embedded"))
        tool = FunctionTool.from_defaults(work, name=canary("tool name"), description=canary("description"))
        with pytest.raises(ValueError, match="sk-"):
            tool.call(password=canary.bare("tool argument"), note=canary("tool note"))
        dispatcher.event(Own(words=canary.every("own event")))
        logging.getLogger("app").warning(canary("log line"))
        return [NodeWithScore(node=TextNode(text=canary("node"), metadata={"a": canary("node metadata")}), score=1)]

    with instrument_tags({"tag": canary.every("instrument tag")}):
        outer(canary.every("given"), query=QueryBundle(canary("query")), password=canary.bare("argument"))


VENDORS = {record.OPEN, record.NOTE, record.CLOSE, record.FEEDBACK}


def records_in(folder: Path) -> list[dict[str, Any]]:
    """Every record on the disk."""
    files = open_journal(str(folder)).files
    return [
        record.decode(payload) for name in files.names() if name.endswith(".log") for *_, payload in lines(files, name)
    ]


def lines(files: Files, name: str) -> Iterator[Any]:
    reader = LineReader(files, name)
    while found := reader.read():
        yield from found


@pytest.fixture(params=["langchain", "llama_index"])
def walk(request: pytest.FixtureRequest, canary: Canaries) -> Callable[..., str]:
    """Record everything with these settings; all that is on the disk afterwards, and what tells of all kinds."""

    def act(**settings: Any) -> list[dict[str, Any]]:
        app, log = logging.getLogger("app"), LogHandler()
        app.addHandler(log)
        try:
            with eventtree.session(canary("session"), user=canary("user")):
                given = {"tags": [canary("own tag")], "metadata": canary.every("own"), "environment": canary("place")}
                if request.param == "langchain":
                    handler: Any = CallbackHandler(strict=True, **given, **settings)
                    through_langchain(handler, canary)
                else:
                    handler = set_global_handler(DispatcherHandler(strict=True, **given, **settings))
                    through_llama_index(canary)
            eventtree.feedback(
                handler.last_tree_id, score=1, name=canary("score"), comment=canary("comment"), user=canary("rater"),
                correction=canary.every("correction"), metadata=canary.every("feedback"),
            )  # fmt: skip
        finally:
            app.removeHandler(log)
            set_global_handler(None)
        assert not eventtree.diagnostics.failures
        recorder.runs.clear()
        return records_in(Path(handler.pipeline.settings.folder))

    return act


def test_no_field_of_any_record_passes_by_the_redactor(walk: Any, canary: Canaries) -> None:
    """`redact=known_secrets()`: keys and values of every class, in every part."""
    records = walk(redact=known_secrets())
    assert {one["r"] for one in records} >= VENDORS
    assert canary.found_in(json.dumps(records, ensure_ascii=False)) == []
    assert len(canary.places) > 100
    usage = [one["usage"] for one in records if "usage" in one]
    assert usage and all('"prompt_tokens": 7' in json.dumps(one) for one in usage)


GIVEN = frozenset({
    *("session", "user", "own", "place", "metadata", "tag", "name", "score", "comment", "rater", "correction"),
    "feedback",
})  # fmt: skip
TOLD = frozenset({"provider", "model", "base", "id", "fingerprint", "answered", "tier"})
"""First words of what stays where contents are off: what the app gives as such, and who answered."""


def test_no_field_of_any_record_holds_contents_where_they_are_off(walk: Any, canary: Canaries) -> None:
    """`content=False`: neither prompts' variables nor tools, stop texts and predictions, nor any word of an answer."""
    found = canary.found_in(json.dumps(walk(content=False), ensure_ascii=False))
    print(found)
    assert [place for place in found if not (GIVEN | TOLD).intersection(place.replace(":", " ").split())] == []
