"""Deterministic models, tools and retrievers that behave like providers' do."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool

needs_agent_marks = pytest.mark.skipif(
    "ls_integration" not in inspect.getsource(create_agent),
    reason="this langchain leaves no mark by which its agents could be told from other graphs",
)

Answer = Callable[[Sequence[BaseMessage]], AIMessage]

USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "input_token_details": {"cache_read": 4}}


def answer(text: str = "blue whale", **more: Any) -> AIMessage:
    """An answer as OpenAI would give it."""
    about = {"model_name": "gpt-4o-mini-2024-07-18", "finish_reason": "stop", "model_provider": "openai"}
    return AIMessage(text, usage_metadata=dict(USAGE), response_metadata=about, **more)


def call(tool: str, /, **arguments: Any) -> AIMessage:
    """An answer that calls a tool."""
    return answer("", tool_calls=[{"name": tool, "args": arguments, "id": f"call_{tool}"}])


class Model(BaseChatModel):
    """A chat model that answers by a function, streams word by word, and calls tools until it has seen their answer."""

    reply: Any = None
    model_name: str = "gpt-4o-mini"
    temperature: float = 0.2
    n: int = 1
    first_chunks: int = 1
    """Chunks without content (a provider's role chunk) before the text."""

    def _answer(self, messages: Sequence[BaseMessage]) -> AIMessage:
        if self.reply is None:
            return answer()
        found = self.reply(messages) if callable(self.reply) else self.reply
        return answer(found) if isinstance(found, str) else found

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        message = self._answer(messages)
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        output = {"token_usage": usage, "model_name": "gpt-4o-mini-2024-07-18"}
        return ChatResult(generations=[ChatGeneration(message=message)] * self.n, llm_output=output)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: Any = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for message in self._chunks(messages):
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                run_manager.on_llm_new_token(str(message.text), chunk=chunk)
            yield chunk

    def _chunks(self, messages: Sequence[BaseMessage]) -> Iterator[AIMessageChunk]:
        whole = self._answer(messages)
        for _ in range(self.first_chunks):
            yield AIMessageChunk("", id="run-1")
        for word in re.split(r"(\s)", str(whole.text)) if whole.text else ():
            yield AIMessageChunk(word, id="run-1")
        for number, one in enumerate(whole.tool_calls):
            chunk = tool_call_chunk(
                name=one["name"], args=str(one["args"]).replace("'", '"'), id=one["id"], index=number
            )
            yield AIMessageChunk("", id="run-1", tool_call_chunks=[chunk])
        yield AIMessageChunk(
            "", id="run-1", usage_metadata=whole.usage_metadata, response_metadata=whole.response_metadata,
            chunk_position="last",
        )  # fmt: skip

    def bind_tools(self, tools: Sequence[BaseTool], **kwargs: Any) -> Any:
        """As OpenAI's class does."""
        from langchain_core.utils.function_calling import convert_to_openai_tool

        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model_name, "temperature": self.temperature, "api_key": "sk-not-to-be-kept"}

    @property
    def _llm_type(self) -> str:
        return "openai-chat"

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": self.model_name, "ls_model_type": "chat"}


class Dictating(Model):
    """Speaks one word after the other, and takes its time."""

    reply: Any = "word " * 10_000
    tells: bool = False
    """Whether it announces its tokens itself, as many providers' classes do."""

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: Any = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for message in self._chunks(messages):
            chunk = ChatGenerationChunk(message=message)
            if run_manager and self.tells:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
            await asyncio.sleep(0.001)


class TextModel(LLM):
    """A text model."""

    text: str = "a text"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return f"{self.text}: {prompt}"

    @property
    def _llm_type(self) -> str:
        return "text"


class Library(BaseRetriever):
    """A retriever over two documents."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [Document("The blue whale is large.", id="d1", metadata={"page": 3}), Document(query, id="d2")]


def tool_caller(tool: str, /, **arguments: Any) -> Answer:
    """Calls the tool once, then answers with what it said."""

    def reply(messages: Sequence[BaseMessage]) -> AIMessage:
        last = messages[-1]
        return answer(f"It says {last.content}") if isinstance(last, ToolMessage) else call(tool, **arguments)

    return reply


def raising(error: BaseException) -> Callable[[Any], Any]:
    """A step that raises."""

    def step(_: Any) -> Any:
        raise error

    return step


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until something is so."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def collected(stream: AsyncIterator[Any]) -> list[Any]:
    """All of an async stream."""
    return [item async for item in stream]
