"""LangChain's built-in model: deterministic, in process, behaving as a provider's class does.

It streams, calls the tools it is bound to, and reports usage with its last chunk, under a real model's name so that
prices resolve. What it says is computed from the messages it gets (see `answer`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from eventtree.demo.answer import answer, read_prompt
from eventtree.demo.tokens import Meter, Used, chunks

MODEL = "gpt-4o-mini"
ANSWERING_MODEL = "gpt-4o-mini-2024-07-18"
SEARCH, COUNT = "search_documents", "count_words"


class DocumentChatModel(BaseChatModel):
    """Answers with sentences of the documents; searches them and counts words where it has the tools."""

    model_name: str = MODEL
    temperature: float = 0.0
    streaming: bool = False
    meter: Meter = Field(default_factory=Meter, exclude=True)

    @property
    def _llm_type(self) -> str:
        return "eventtree-demo"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "temperature": self.temperature}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(
            ls_provider="openai", ls_model_name=self.model_name, ls_model_type="chat", ls_temperature=self.temperature
        )

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call `tools`; like OpenAI's class it gets their schemas with every call."""
        kwargs.pop("tool_choice", None)
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        whole = None
        for chunk in self._stream(messages, stop, None, **kwargs):
            whole = chunk.message if whole is None else whole + chunk.message
        assert isinstance(whole, AIMessageChunk)
        message = AIMessage(
            content=whole.content, tool_calls=whole.tool_calls, usage_metadata=whole.usage_metadata,
            response_metadata=whole.response_metadata,
        )  # fmt: skip
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        said = next_step(messages, [tool["function"]["name"] for tool in kwargs.get("tools", ())])
        used = self.meter.measure(_prompt(messages, kwargs.get("tools", [])), _output(said))
        for message in [*_pieces(said), _last(said, used)]:
            chunk = ChatGenerationChunk(message=message)
            if run_manager is not None:
                run_manager.on_llm_new_token(str(message.content), chunk=chunk)
            yield chunk


def next_step(messages: Sequence[BaseMessage], tools: Sequence[str]) -> AIMessage:
    """What the model says now: it searches, counts the words of its draft, and answers with both."""
    asked = max((place for place, message in enumerate(messages) if isinstance(message, HumanMessage)), default=0)
    question, context = read_prompt(messages[asked].text)
    results = {message.name: message.text for message in messages[asked:] if isinstance(message, ToolMessage)}
    if SEARCH in tools and SEARCH not in results:
        return _call(SEARCH, {"query": question})
    draft = answer(question, results.get(SEARCH, context))
    if COUNT in tools and COUNT not in results:
        return _call(COUNT, {"text": draft})
    return AIMessage(f"{draft} ({results[COUNT]} words)" if COUNT in results else draft)


def _call(tool: str, arguments: dict[str, str]) -> AIMessage:
    key = blake2b(json.dumps([tool, arguments]).encode(), digest_size=12).hexdigest()
    return AIMessage("", tool_calls=[{"name": tool, "args": arguments, "id": f"call_{key}", "type": "tool_call"}])


def _prompt(messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]]) -> str:
    """All that the model reads: the tools first, then every message, tool calls among them."""
    said = [f"{message.type}: {message.text} {_calls(message)}" for message in messages]
    return "\n".join([json.dumps(tool) for tool in tools] + said)


def _output(said: AIMessage) -> str:
    return f"{said.text}{_calls(said)}"


def _calls(message: BaseMessage) -> str:
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return "".join(f"{call['name']}{json.dumps(call['args'])}" for call in calls)


def _pieces(said: AIMessage) -> Iterator[AIMessageChunk]:
    for piece in chunks(said.text):
        yield AIMessageChunk(content=piece)
    for index, call in enumerate(said.tool_calls):
        first = tool_call_chunk(name=call["name"], args="", id=call["id"], index=index)
        yield AIMessageChunk(content="", tool_call_chunks=[first])
        for piece in chunks(json.dumps(call["args"])):
            yield AIMessageChunk(content="", tool_call_chunks=[tool_call_chunk(args=piece, index=index)])


def _last(said: AIMessage, used: Used) -> AIMessageChunk:
    """The chunk that ends a stream: why it ended, who answered, and what it used."""
    usage = UsageMetadata(
        input_tokens=used.input,
        output_tokens=used.output,
        total_tokens=used.input + used.output,
        input_token_details=InputTokenDetails(cache_read=used.cached),
        output_token_details=OutputTokenDetails(reasoning=0),
    )
    about = {
        "finish_reason": "tool_calls" if said.tool_calls else "stop",
        "model_name": ANSWERING_MODEL,
        "model_provider": "openai",
    }
    return AIMessageChunk(content="", usage_metadata=usage, response_metadata=about, chunk_position="last")
