"""Which models answer: the built-in ones, or real ones of OpenAI."""

from __future__ import annotations

from typing import NamedTuple

from langchain_core.language_models import BaseChatModel
from llama_index.core.llms import LLM

from eventtree.demo.chat_model import DocumentChatModel
from eventtree.demo.llm import DocumentLLM
from eventtree.errors import ConfigError


class Models(NamedTuple):
    """A model for each framework."""

    chat: BaseChatModel
    llm: LLM


def choose(model: str | None) -> Models:
    """The built-in models, or those of `openai:NAME`.

    Raises:
        ConfigError: a class for them is missing, or does not know the name.
    """
    if model is None:
        return Models(DocumentChatModel(streaming=True), DocumentLLM())
    return _openai(model.removeprefix("openai:"))


def _openai(name: str) -> Models:
    try:
        from langchain_openai import ChatOpenAI
        from llama_index.llms.openai import OpenAI
    except ImportError as error:
        hint = "Run pip install 'eventtree[all]' llama-index-llms-openai"
        raise ConfigError("--model", f"{error.name} is not installed", hint) from error
    # LlamaIndex's class asks for no usage of its own accord when it streams.
    llm = OpenAI(model=name, additional_kwargs={"stream_options": {"include_usage": True}})
    try:
        _ = llm.metadata
    except ValueError as error:
        hint = "Give a model that llama-index-llms-openai knows, such as openai:gpt-4o-mini, or update that package"
        raise ConfigError("--model", f"LlamaIndex does not know {name!r}", hint) from error
    return Models(ChatOpenAI(model=name, streaming=True, stream_usage=True), llm)
