"""The demo's chat model for LangChain: deterministic, in process, but otherwise like a provider's class.

It streams, calls the tools it is bound to, and reports usage with its last chunk, under a real model's name so that
there are prices. Its answer is computed from the messages it gets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from eventtree.demo.language import Meter, answer, pieces, read_prompt

MODEL = "gpt-4o-mini"
ANSWERING_MODEL = "gpt-4o-mini-2024-07-18"
SEARCH, COUNT = "search_documents", "count_words"


class DocumentChatModel(BaseChatModel):
    """Answers with sentences of the documents; searches them and counts words if it has the tools."""

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
        return LangSmithParams(ls_provider="openai", ls_model_name=self.model_name, ls_model_type="chat")

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Let the model call `tools`; like OpenAI's class, it gets their schemas with every call."""
        kwargs.pop("tool_choice", None)
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, None, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        tools = kwargs.get("tools", [])
        message = next_message(messages, [tool["function"]["name"] for tool in tools])
        for part in [*_parts(message), _last(message, self.meter, _prompt(messages, tools))]:
            chunk = ChatGenerationChunk(message=part)
            if run_manager is not None:
                run_manager.on_llm_new_token(str(part.content), chunk=chunk)
            yield chunk


def next_message(messages: Sequence[BaseMessage], tools: Sequence[str]) -> AIMessage:
    """The model's next message: it searches, counts the words of its draft, and answers with both."""
    asked = max((at for at, message in enumerate(messages) if isinstance(message, HumanMessage)), default=0)
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
    """The text that the model reads: the tools, then every message."""
    return "\n".join([json.dumps(tool) for tool in tools] + [_written(message) for message in messages])


def _written(message: BaseMessage) -> str:
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return message.text + "".join(f"{call['name']}{json.dumps(call['args'])}" for call in calls)


def _parts(message: AIMessage) -> Iterator[AIMessageChunk]:
    for piece in pieces(message.text):
        yield AIMessageChunk(content=piece)
    for index, call in enumerate(message.tool_calls):
        for at, piece in enumerate(pieces(json.dumps(call["args"]))):
            name, key = (None, None) if at else (call["name"], call["id"])
            chunk = tool_call_chunk(name=name, args=piece, id=key, index=index)
            yield AIMessageChunk(content="", tool_call_chunks=[chunk])


def _last(message: AIMessage, meter: Meter, prompt: str) -> AIMessageChunk:
    """The last chunk of a stream: its finish reason, the model, and the usage."""
    used = meter.measure(prompt, _written(message))
    usage = UsageMetadata(
        input_tokens=used.input,
        output_tokens=used.output,
        total_tokens=used.input + used.output,
        input_token_details=InputTokenDetails(cache_read=used.cached),
        output_token_details=OutputTokenDetails(reasoning=0),
    )
    reason = "tool_calls" if message.tool_calls else "stop"
    about = {"finish_reason": reason, "model_name": ANSWERING_MODEL, "model_provider": "openai"}
    return AIMessageChunk(content="", usage_metadata=usage, response_metadata=about, chunk_position="last")
